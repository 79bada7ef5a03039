use core::net::Ipv6Addr;

use adit_core::DecodeError;

/// A Router Solicitation (RFC 4861 §4.1) of a host without a link-layer address, with a checksum of zero.
pub const ROUTER_SOLICITATION: [u8; 8] = [SOLICITATION, 0, 0, 0, 0, 0, 0, 0];

const SOLICITATION: u8 = 133;
const ADVERTISEMENT: u8 = 134;
const PREFIX_INFORMATION: u8 = 3;
const RDNSS: u8 = 25;
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;
/// Type, code, checksum, hop limit, flags, lifetime, two timers.
const FIXED: usize = 16;

/// A Router Advertisement (RFC 4861 §4.2). Its checksum is the kernel's work, as with every ICMPv6 message.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct RouterAdvertisement {
    /// What hosts put into Hop Limit. 0: not said.
    pub hop_limit: u8,
    /// O: other things come by DHCPv6. M, by which addresses would come too, says as much (§4.2).
    pub other: bool,
    /// So long this is a default router, in seconds; 0: it is none.
    pub lifetime: u16,
    /// Prefix Information (§4.6.2).
    pub prefixes: Vec<PrefixInformation>,
    /// Recursive DNS servers (RFC 8106 §5.1), and how long they may be used, in seconds.
    pub dns: Option<(u32, Vec<Ipv6Addr>)>,
}

/// A prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PrefixInformation {
    /// Its bits; those behind `length` mean nothing.
    pub prefix: Ipv6Addr,
    /// Its length, 0 to 128.
    pub length: u8,
    /// L: its addresses are on the link.
    pub on_link: bool,
    /// A: hosts make addresses of it (RFC 4862).
    pub autonomous: bool,
    /// How long addresses of it are valid, in seconds.
    pub valid: u32,
    /// How long they are preferred, in seconds.
    pub preferred: u32,
}

/// Whether this is a Router Solicitation that counts (RFC 4861 §6.1.1). Hop limit and checksum were looked at before.
/// [4861:6.1.1-1]
#[must_use]
pub fn is_router_solicitation(octets: &[u8]) -> bool {
    matches!(octets, [SOLICITATION, 0, ..]) && octets.get(8..).is_some_and(|rest| options(rest).is_ok())
}

impl RouterAdvertisement {
    /// Reads a message. Options that are not known here are passed over.
    ///
    /// # Errors
    /// It is none, or an option does not fit (§6.1.2).
    pub fn parse(octets: &[u8]) -> Result<Self, DecodeError> {
        let (fixed, rest) = octets
            .split_first_chunk::<FIXED>()
            .ok_or(DecodeError::new(0, "too short for a Router Advertisement"))?;
        let [ADVERTISEMENT, 0, _, _, hop_limit, flags, a, b, ..] = *fixed else {
            return Err(DecodeError::new(0, "no Router Advertisement"));
        };
        let mut out = Self {
            hop_limit,
            other: flags & (MANAGED | OTHER) != 0,
            lifetime: u16::from_be_bytes([a, b]),
            prefixes: Vec::new(),
            dns: None,
        };
        for (kind, body) in options(rest)? {
            match kind {
                PREFIX_INFORMATION => out.prefixes.extend(PrefixInformation::parse(body)),
                RDNSS => out.dns = out.dns.or_else(|| parse_dns(body)),
                _ => {}
            }
        }
        Ok(out)
    }

    /// The message's octets, with a checksum of zero.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let mut out = vec![ADVERTISEMENT, 0, 0, 0, self.hop_limit, bit(self.other, OTHER)];
        out.extend(self.lifetime.to_be_bytes());
        // Reachable Time and Retrans Timer: not said.
        out.extend([0; 8]);
        for prefix in &self.prefixes {
            let flags = bit(prefix.on_link, ON_LINK) | bit(prefix.autonomous, AUTONOMOUS);
            out.extend([PREFIX_INFORMATION, 4, prefix.length, flags]);
            out.extend(prefix.valid.to_be_bytes());
            out.extend(prefix.preferred.to_be_bytes());
            out.extend([0; 4]);
            out.extend(prefix.prefix.octets());
        }
        if let Some((lifetime, servers)) = &self.dns {
            // As many as the option's length can say.
            let servers = servers.get(..127).unwrap_or(servers);
            let length = u8::try_from(servers.len().saturating_mul(2).saturating_add(1)).unwrap_or(u8::MAX);
            out.extend([RDNSS, length, 0, 0]);
            out.extend(lifetime.to_be_bytes());
            out.extend(servers.iter().flat_map(|s| s.octets()));
        }
        out
    }
}

impl PrefixInformation {
    /// Behind Type and Length.
    fn parse(body: &[u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<14>()?;
        let [length @ 0..=128, flags, a, b, c, d, e, f, g, h, ..] = *head else { return None };
        Some(Self {
            prefix: Ipv6Addr::from(<[u8; 16]>::try_from(rest).ok()?),
            length,
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            valid: u32::from_be_bytes([a, b, c, d]),
            preferred: u32::from_be_bytes([e, f, g, h]),
        })
    }
}

fn parse_dns(body: &[u8]) -> Option<(u32, Vec<Ipv6Addr>)> {
    let ([_, _, a, b, c, d], rest) = body.split_first_chunk::<6>()?;
    let servers: Vec<Ipv6Addr> = rest.as_chunks::<16>().0.iter().map(|s| Ipv6Addr::from(*s)).collect();
    (!servers.is_empty()).then_some((u32::from_be_bytes([*a, *b, *c, *d]), servers))
}

/// Type and body of each option; a length of zero makes all of it nonsense (§4.6).
fn options(mut rest: &[u8]) -> Result<Vec<(u8, &[u8])>, DecodeError> {
    let mut out = Vec::new();
    while let [kind, length, ..] = rest {
        let whole = usize::from(*length).saturating_mul(8);
        let (option, more) = rest
            .split_at_checked(whole)
            .filter(|_| whole > 0)
            .ok_or(DecodeError::new(0, "an option's length does not fit"))?;
        out.push((*kind, option.get(2..).unwrap_or_default()));
        rest = more;
    }
    if rest.is_empty() { Ok(out) } else { Err(DecodeError::new(0, "an option is cut off")) }
}
