//! Traffic selectors as people write them: `10.0.0.0/8`, `10.0.0.1-10.0.0.9`, `10.0.0.0/8[tcp/443]`.

use core::net::IpAddr;

use adit_core::{AddressRange, TrafficSelector};

use crate::profile_read::parse_network;
use crate::value::{NameError, quoted};

const ALLOWED: &str = "10.0.0.0/8, 10.0.0.1-10.0.0.9, 2001:db8::/32; with a protocol and ports: 10.0.0.0/8[tcp/443], \
                       10.0.0.0/8[udp/5000-5100], 10.0.0.0/8[icmp]";

/// Names that may stand for a protocol's number (IANA's "Assigned Internet Protocol Numbers").
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("tcp", 6),
    ("udp", 17),
    ("gre", 47),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// Addresses, and perhaps `[protocol]` or `[protocol/port]` or `[protocol/first-last]`; a protocol is a name or a
/// number from 1 to 255, and `opaque` stands for ports that cannot be seen (RFC 7296 §3.13.1).
pub(crate) fn parse_selector(text: &str) -> Result<TrafficSelector, NameError> {
    let Some((addresses, rest)) = text.split_once('[') else {
        return parse_addresses(text, text).map(TrafficSelector::any_of);
    };
    let inside = rest.strip_suffix(']').ok_or_else(|| wrong(text, "does not end in ]"))?;
    let (protocol, ports) = match inside.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(ports)),
        None => (inside, None),
    };
    let protocol = parse_protocol(protocol).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        let why = format!("{} has no protocol that is known by the name {}", quoted(text), quoted(protocol));
        NameError::new(why, format!("a number from 1 to 255, or {}", names.join(", ")))
    })?;
    let selector = TrafficSelector { protocol, ..TrafficSelector::any_of(parse_addresses(addresses, text)?) };
    let Some(ports) = ports else { return Ok(selector) };
    let (first_port, last_port) = parse_ports(ports).ok_or_else(|| wrong(text, "has no such ports"))?;
    Ok(TrafficSelector { first_port, last_port, ..selector })
}

fn parse_addresses(addresses: &str, whole: &str) -> Result<AddressRange, NameError> {
    let Some((first, last)) = addresses.split_once('-') else {
        return parse_network(addresses).map(|p| p.range()).map_err(|e| match e.allowed.as_str() {
            // What to write instead is told only where it is clear what was meant.
            allowed if allowed.contains(" or ") => e,
            _ => NameError::new(e.why, ALLOWED),
        });
    };
    let address = |text: &str| text.trim().parse::<IpAddr>().ok();
    match (address(first), address(last)) {
        (Some(first), Some(last)) if first.is_ipv4() == last.is_ipv4() && first <= last => {
            Ok(AddressRange { first, last })
        }
        _ => Err(wrong(whole, "is no range of addresses")),
    }
}

fn parse_protocol(text: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, n)| *n);
    named.or_else(|| number(text)?.try_into().ok().filter(|n| *n != 0))
}

fn parse_ports(text: &str) -> Option<(u16, u16)> {
    if text == "opaque" {
        return Some((u16::MAX, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

fn number(text: &str) -> Option<u16> {
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

fn wrong(text: &str, what: &str) -> NameError {
    NameError::new(format!("{} {what}", quoted(text)), ALLOWED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_written_as_they_are_shown() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:db8::/32[tcp]", "2001:db8::/32[6]"),
            ("10.0.0.0/8[tcp/443]", "10.0.0.0/8[6/443]"),
            ("10.0.0.0/8[17/1000-2000]", "10.0.0.0/8[17/1000-2000]"),
            ("10.0.0.3-10.0.0.9[ICMP]", "10.0.0.3-10.0.0.9[1]"),
            ("10.0.0.7[udp/0]", "10.0.0.7/32[17/0]"),
            ("0.0.0.0/0[tcp/opaque]", "0.0.0.0/0[6/opaque]"),
        ] {
            let selector = parse_selector(text).unwrap();
            assert_eq!(selector.to_string(), shown);
            assert_eq!(parse_selector(shown).unwrap(), selector);
        }
    }

    #[test]
    fn what_is_no_selector_is_told_why() {
        for (text, why) in [
            ("10.0.0.0/8[tcp", "\"10.0.0.0/8[tcp\" does not end in ]"),
            (
                "10.0.0.0/8[http/80]",
                "\"10.0.0.0/8[http/80]\" has no protocol that is known by the name \"http\"",
            ),
            ("10.0.0.0/8[0]", "\"10.0.0.0/8[0]\" has no protocol that is known by the name \"0\""),
            ("10.0.0.0/8[256]", "\"10.0.0.0/8[256]\" has no protocol that is known by the name \"256\""),
            ("10.0.0.0/8[tcp/2-1]", "\"10.0.0.0/8[tcp/2-1]\" has no such ports"),
            ("10.0.0.0/8[tcp/+5]", "\"10.0.0.0/8[tcp/+5]\" has no such ports"),
            ("10.0.0.9-10.0.0.3", "\"10.0.0.9-10.0.0.3\" is no range of addresses"),
            ("10.0.0.1/8[tcp]", "\"10.0.0.1/8\" has bits beyond its prefix"),
        ] {
            assert_eq!(parse_selector(text).unwrap_err().why, why);
        }
        assert_eq!(parse_selector("10.0.0.1/8").unwrap_err().allowed, "10.0.0.0/8, or 10.0.0.1/32");
    }
}
