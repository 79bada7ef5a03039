//! Whether a wire carried what a scenario says, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use adit_lab::scenario::{Scenario, Wire};

use crate::wire::{self, Kind, Packet};

/// When each step began and ended, in microseconds since 1970.
pub(crate) type Times = Vec<(u64, u64)>;

/// Judges every wire of the scenario; what each carried, for people.
///
/// # Errors
/// What was there and should not have been, or the other way round.
pub(crate) fn wires(
    scenario: &Scenario,
    times: &Times,
    captures: &BTreeMap<String, PathBuf>,
) -> Result<Vec<String>, String> {
    let mut told = Vec::new();
    for wire in &scenario.expect.wire {
        let from = wire.from.as_ref().and_then(|label| scenario.step_at(label)).unwrap_or_default();
        let to = wire
            .to
            .as_ref()
            .and_then(|label| scenario.step_at(label))
            .unwrap_or(times.len().saturating_sub(1));
        let begin = times.get(from).map_or(0, |(begin, _)| *begin);
        let end = times.get(to).map_or(u64::MAX, |(_, end)| *end);
        for interface in &wire.on {
            let file = captures.get(interface).ok_or_else(|| format!("no capture of {interface}"))?;
            let packets = wire::read(file)?;
            let between: Vec<&Packet> =
                packets.iter().filter(|packet| (begin..=end).contains(&packet.at)).collect();
            told.push(one(wire, &narrowed(wire, between)).map_err(|why| format!("wire {interface}: {why}"))?);
        }
    }
    Ok(told)
}

/// The packets from the tunnel's first to its last, where the scenario asks for that.
fn narrowed<'p>(wire: &Wire, mut packets: Vec<&'p Packet>) -> Vec<&'p Packet> {
    let is_ike = |packet: &&Packet| wire::kind(&packet.frame, &[]) == Kind::Ike;
    let is_tunnels =
        |packet: &&Packet| matches!(wire::kind(&packet.frame, &[]), Kind::Ike | Kind::Esp | Kind::EspInUdp);
    // The sender's hardware address.
    let sender = |packet: &Packet| packet.frame.get(6..12).map(<[u8]>::to_vec);
    if wire.from_first_ike {
        let first = packets.iter().position(is_ike).unwrap_or(packets.len());
        packets.drain(..first);
        let from = packets.first().and_then(|packet| sender(packet));
        packets.retain(|packet| sender(packet) == from);
    }
    if wire.to_last_of_tunnel {
        packets.truncate(packets.iter().rposition(is_tunnels).map_or(0, |last| last + 1));
    }
    packets
}

/// Counts of what a wire carried.
#[derive(Default)]
struct Seen {
    ike: usize,
    esp: usize,
    esp_in_udp: usize,
    link: usize,
    /// What is neither, with how often.
    other: BTreeMap<String, usize>,
    /// Packets that carry the marker.
    marked: usize,
    /// Sequence numbers of each SPI, for each destination.
    sequences: BTreeMap<(IpAddr, u32), BTreeSet<u32>>,
    /// The first one that came twice.
    twice: Option<(IpAddr, u32, u32)>,
    /// IKE_SAs, by their SPIs.
    ike_sas: BTreeSet<(u64, u64)>,
    /// Protected IKE messages, by what may not come twice, each with its content.
    messages: BTreeMap<wire::MessageId, Vec<u8>>,
    /// The first one that came with another content.
    changed: Option<wire::MessageId>,
}

fn one(wire: &Wire, packets: &[&Packet]) -> Result<String, String> {
    let seen = Seen::of(packets, &wire.also);
    if wire.allow == "marker" {
        let none = "no packet carries the marker, though it should be in clear here";
        return if seen.marked > 0 { Ok(seen.told(&wire.on)) } else { Err(none.to_owned()) };
    }
    if !seen.other.is_empty() {
        let list: Vec<String> =
            seen.other.iter().take(8).map(|(what, count)| format!("{count} x {what}")).collect();
        return Err(format!("in clear: {}", list.join("; ")));
    }
    if seen.marked > 0 {
        return Err(format!("in clear: {} packets carry the plaintext marker", seen.marked));
    }
    if let Some((to, spi, number)) = seen.twice {
        return Err(format!("SPI {spi:#010x} to {to} has sequence number {number} twice"));
    }
    if let Some(message) = seen.changed.filter(|_| wire.messages_once) {
        return Err(format!("an IKE message came twice with other content: {message:x?}"));
    }
    if seen.sequences.len() < wire.spis {
        return Err(format!(
            "it carried {} SAs, and at least {} should be there",
            seen.sequences.len(),
            wire.spis
        ));
    }
    if seen.ike_sas.len() < wire.ike_sas {
        let (there, wanted) = (seen.ike_sas.len(), wire.ike_sas);
        return Err(format!("it carried {there} IKE_SAs, and at least {wanted} should be there"));
    }
    let esp = format!("{} ESP, {} ESP in UDP", seen.esp, seen.esp_in_udp);
    let is_right = match wire.esp.as_str() {
        "esp" => seen.esp > 0 && seen.esp_in_udp == 0,
        "udp" => seen.esp_in_udp > 0 && seen.esp == 0,
        "none" => seen.esp + seen.esp_in_udp == 0,
        _ => seen.esp + seen.esp_in_udp > 0,
    };
    if is_right {
        Ok(seen.told(&wire.on))
    } else {
        Err(format!("it carried {esp}, where esp = {:?}", wire.esp))
    }
}

impl Seen {
    fn of(packets: &[&Packet], also: &[String]) -> Self {
        let mut seen = Self::default();
        let marker = Scenario::marker().as_bytes();
        for packet in packets {
            let kind = wire::kind(&packet.frame, also);
            if matches!(kind, Kind::Esp | Kind::EspInUdp)
                && let Some((to, spi, number)) = wire::sequence(&packet.frame)
                && !seen.sequences.entry((to, spi)).or_default().insert(number)
            {
                seen.twice.get_or_insert((to, spi, number));
            }
            if kind == Kind::Ike {
                seen.ike_sas.extend(wire::ike_spis(&packet.frame));
                if let Some((id, content)) = wire::ike_message(&packet.frame)
                    && seen.messages.entry(id).or_insert_with(|| content.to_vec()) != content
                {
                    seen.changed.get_or_insert(id);
                }
            }
            match kind {
                Kind::Ike | Kind::Keepalive => seen.ike += 1,
                Kind::Esp => seen.esp += 1,
                Kind::EspInUdp => seen.esp_in_udp += 1,
                Kind::Link | Kind::Fragment => seen.link += 1,
                Kind::Other(what) => *seen.other.entry(what).or_default() += 1,
            }
            if packet.frame.windows(marker.len()).any(|window| window == marker) {
                seen.marked += 1;
            }
        }
        seen
    }

    fn told(&self, on: &[String]) -> String {
        let Self { ike, esp, esp_in_udp, marked, sequences, ike_sas, .. } = self;
        let mut parts = vec![format!("{ike} IKE of {} IKE_SAs", ike_sas.len())];
        parts.extend((*esp > 0).then(|| format!("{esp} ESP")));
        parts.extend((*esp_in_udp > 0).then(|| format!("{esp_in_udp} ESP in UDP")));
        let (on, parts, spis) = (on.join(", "), parts.join(", "), sequences.len());
        format!("wire {on}: {parts}, {spis} SPIs; packets with plaintext: {marked}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Scenario, Wire, narrowed, one};
    use crate::wire::Packet;

    fn wire(allow: &str, esp: &str) -> Wire {
        let (allow, esp) = (allow.to_owned(), esp.to_owned());
        Wire {
            on: vec!["client:wan".to_owned()],
            allow,
            from: None,
            to: None,
            from_first_ike: false,
            to_last_of_tunnel: false,
            esp,
            also: Vec::new(),
            spis: 0,
            ike_sas: 0,
            messages_once: false,
        }
    }

    /// A frame with an IPv4 packet of that protocol.
    fn packet(protocol: u8, payload: &[u8]) -> Packet {
        let mut frame = vec![0_u8; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend(payload);
        Packet { at: 0, frame }
    }

    #[test]
    fn esp_only_is_esp_and_nothing_else() {
        let (esp, ping) = (packet(50, &[1, 2, 3, 4]), packet(1, &[8, 0, 0, 0]));
        assert!(one(&wire("esp-only", "esp"), &[&esp]).is_ok());
        assert!(one(&wire("esp-only", "udp"), &[&esp]).is_err());
        assert!(one(&wire("esp-only", "none"), &[&esp]).is_err());
        assert!(one(&wire("esp-only", "any"), &[]).is_err());
        assert!(one(&wire("esp-only", "any"), &[&esp, &ping]).unwrap_err().contains("ICMP"));
    }

    #[test]
    fn a_sequence_number_that_comes_twice_is_seen() {
        let esp = |number: u8| packet(50, &[0xc0, 0, 0, 1, 0, 0, 0, number]);
        let (first, second) = (esp(1), esp(2));
        assert!(one(&wire("esp-only", "esp"), &[&first, &second]).is_ok());
        assert!(one(&wire("esp-only", "esp"), &[&first, &second, &first]).unwrap_err().contains("twice"));
        let two = Wire { spis: 2, ..wire("esp-only", "esp") };
        assert!(one(&two, &[&first, &second]).unwrap_err().contains("1 SAs"));
        assert!(one(&two, &[&first, &packet(50, &[0xc0, 0, 0, 2, 0, 0, 0, 1])]).is_ok());
    }

    #[test]
    fn ike_sas_are_counted() {
        let ike = |spi: u8| packet(17, &[&[1, 0xf4, 1, 0xf4, 0, 0, 0, 0], &[spi; 16][..]].concat());
        let (first, second) = (ike(1), ike(2));
        let two = Wire { ike_sas: 2, ..wire("esp-only", "none") };
        assert!(one(&two, &[&first, &first]).unwrap_err().contains("1 IKE_SAs"));
        assert!(one(&two, &[&first, &second]).is_ok());
    }

    #[test]
    fn a_message_id_has_one_content() {
        let ike = |id: u8, content: u8| {
            let header = [&[7; 16][..], &[46, 0x20, 37, 8, 0, 0, 0, id, 0, 0, 0, 32]].concat();
            packet(17, &[&[1, 0xf4, 1, 0xf4, 0, 0, 0, 0], &header[..], &[content; 4]].concat())
        };
        let once = Wire { messages_once: true, ..wire("esp-only", "none") };
        let (first, second, changed) = (ike(1, 1), ike(2, 1), ike(1, 2));
        assert!(one(&once, &[&first, &second, &first]).is_ok());
        assert!(one(&once, &[&first, &changed]).unwrap_err().contains("other content"));
        assert!(one(&wire("esp-only", "none"), &[&first, &changed]).is_ok());
    }

    #[test]
    fn reads_from_the_tunnels_first_packet_to_its_last() {
        let (esp, ping) = (packet(50, &[1, 2, 3, 4]), packet(1, &[8, 0, 0, 0]));
        let ike = packet(17, &[1, 0xf4, 1, 0xf4, 0, 0, 0, 0, 1, 2, 3, 4]);
        let mut answer = packet(1, &[0, 0, 0, 0]);
        answer.frame[6] = 1;
        let all = vec![&ping, &esp, &ike, &answer, &ping, &esp, &ping];
        let mut wire = wire("esp-only", "esp");
        assert_eq!(narrowed(&wire, all.clone()).len(), 7);
        (wire.from_first_ike, wire.to_last_of_tunnel) = (true, true);
        let between = narrowed(&wire, all);
        assert_eq!(between.len(), 3);
        assert!(one(&wire, &between).unwrap_err().contains("ICMP type 8"));
        assert!(narrowed(&wire, vec![&ping]).is_empty());
    }

    #[test]
    fn a_marker_is_seen_wherever_it_is() {
        // Even inside of what calls itself ESP: null encryption, say.
        let bare = packet(50, Scenario::marker().as_bytes());
        assert!(one(&wire("esp-only", "any"), &[&bare]).unwrap_err().contains("marker"));
        assert!(one(&wire("marker", "any"), &[&bare]).is_ok());
        assert!(one(&wire("marker", "any"), &[&packet(50, &[0])]).is_err());
    }
}
