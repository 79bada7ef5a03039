use core::fmt;
use core::net::IpAddr;
use std::sync::OnceLock;

use adit_core::Secret;
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL};
use netlink_sys::protocols::NETLINK_ROUTE;
use nix::errno::Errno;

use crate::attribute::SecretBuffer;
use crate::link::{Link, Verdict};
use crate::request::Batch;
use crate::{Algorithm, ChildSa, EspKeys, Lifetimes, Mode, Operation, UdpEncap, XfrmError};

/// Something that the kernel may have or lack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Feature {
    /// XFRM netlink itself.
    Xfrm,
    /// ESP over IPv4, and in UDP over IPv4.
    EspV4,
    /// ESP over IPv6, and in UDP over IPv6.
    EspV6,
    /// xfrm interfaces (`if_id`).
    XfrmInterface,
    /// An algorithm of ESP.
    Algorithm(Algorithm),
}

impl Feature {
    /// What to type to get it, where a module has it.
    #[must_use]
    pub fn remedy(self) -> String {
        let modules = match self {
            Self::Xfrm => "xfrm_user",
            Self::EspV4 => "esp4",
            Self::EspV6 => "esp6",
            Self::XfrmInterface => "xfrm_interface",
            Self::Algorithm(a) => a.modules(),
        };
        format!("modprobe -a {modules}")
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xfrm => f.write_str("XFRM netlink (xfrm_user)"),
            Self::EspV4 => f.write_str("ESP over IPv4 (esp4)"),
            Self::EspV6 => f.write_str("ESP over IPv6 (esp6)"),
            Self::XfrmInterface => f.write_str("xfrm interfaces (xfrm_interface)"),
            Self::Algorithm(a) => write!(f, "{a} ({})", a.kernel_name()),
        }
    }
}

/// Whether it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Support {
    /// It works.
    Present,
    /// It does not, and why.
    Missing(String),
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Capability {
    /// About what.
    pub feature: Feature,
    /// The answer.
    pub support: Support,
}

/// What a kernel can carry.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Capabilities(pub Vec<Capability>);

impl Capabilities {
    /// Whether the kernel has it. AES key sizes and HMACs beside the probed ones follow from their relatives.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        let asked = match feature {
            Feature::Algorithm(Algorithm::AesGcm16 { bits: 192 }) => {
                Feature::Algorithm(Algorithm::AesGcm16 { bits: 256 })
            }
            Feature::Algorithm(Algorithm::AesCbc { integrity, .. }) => {
                Feature::Algorithm(Algorithm::AesCbc { bits: 256, integrity })
            }
            other => other,
        };
        self.0.iter().any(|c| c.feature == asked && c.support == Support::Present)
    }

    /// What is missing, and why.
    pub fn missing(&self) -> impl Iterator<Item = (Feature, &str)> {
        self.0.iter().filter_map(|c| match &c.support {
            Support::Present => None,
            Support::Missing(why) => Some((c.feature, why.as_str())),
        })
    }
}

/// Whether the kernel knows `XFRMA_SA_DIR` (6.10). It changes what an outbound state must look like, so it can't
/// be sent to whoever skips it. A kernel that has it backported works without as well.
pub(crate) fn has_direction() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        at_least(&release, (6, 10))
    })
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => false,
    }
}

type Exchange<'a> = &'a dyn Fn(&mut dyn FnMut(&mut Batch)) -> Result<Vec<(Operation, Verdict)>, XfrmError>;

/// Asks by doing: for each algorithm a state to an address that no packet has (240.0.0.1 is reserved, 100::1
/// discarded), added and deleted in one batch. That is what loads modules, and what finds out that a module is
/// there but its algorithm is not; reading /proc/crypto finds neither. A crash in between leaves a state that
/// expires after a second.
pub(crate) fn probe<F>(exchange: F) -> Result<Capabilities, XfrmError>
where
    F: Fn(&mut dyn FnMut(&mut Batch)) -> Result<Vec<(Operation, Verdict)>, XfrmError>,
{
    let mut out = Vec::new();
    let mut answer = |feature, support| out.push(Capability { feature, support });
    if let Err(XfrmError::Unavailable(e)) = exchange(&mut Batch::dump_policies) {
        answer(Feature::Xfrm, Support::Missing(e.to_string()));
        return Ok(Capabilities(out));
    }
    answer(Feature::Xfrm, Support::Present);
    let v4 = try_algorithms(&exchange, [IpAddr::from([240, 0, 0, 2]), IpAddr::from([240, 0, 0, 1])])?;
    let discard = |n| IpAddr::from([0x100, 0, 0, 0, 0, 0, 0, n]);
    let v6 = try_algorithms(&exchange, [discard(2), discard(1)])?;
    answer(Feature::EspV4, esp(&v4));
    answer(Feature::EspV6, esp(&v6));
    answer(Feature::XfrmInterface, interface()?);
    for ((algorithm, a), (_, b)) in v4.into_iter().zip(v6) {
        let support = match (a, b) {
            (Ok(()), _) | (_, Ok(())) => Support::Present,
            (Err((Errno::EPROTONOSUPPORT, _)), _) => Support::Missing("not without ESP".into()),
            (Err((errno, text)), _) => Support::Missing(said(errno, text.as_deref())),
        };
        answer(Feature::Algorithm(algorithm), support);
    }
    Ok(Capabilities(out))
}

/// ESP is there if one algorithm of any kind works.
fn esp(tried: &[(Algorithm, Verdict)]) -> Support {
    if tried.iter().any(|(_, v)| v.is_ok()) {
        return Support::Present;
    }
    // The kernel looks for the algorithm first: where that is missing too, it does not get to say that ESP is.
    let whys: Vec<_> = tried.iter().filter_map(|(_, v)| v.as_ref().err()).collect();
    let plainest = whys.iter().find(|(errno, _)| *errno == Errno::EPROTONOSUPPORT).or(whys.first());
    Support::Missing(plainest.map_or_else(String::new, |(errno, text)| said(*errno, text.as_deref())))
}

fn said(errno: Errno, text: Option<&str>) -> String {
    text.unwrap_or_else(|| errno.desc()).into()
}

fn try_algorithms(
    exchange: Exchange<'_>,
    [local, remote]: [IpAddr; 2],
) -> Result<Vec<(Algorithm, Verdict)>, XfrmError> {
    let dir = has_direction();
    let children = Algorithm::PROBED.map(|a| throwaway(a, local, remote));
    let verdicts = exchange(&mut |batch| {
        for child in &children {
            batch.outbound(child, dir);
            batch.delete_state(&child.outbound());
        }
    })?;
    let added = verdicts.into_iter().step_by(2);
    let mut out = Vec::new();
    for (algorithm, (operation, verdict)) in Algorithm::PROBED.into_iter().zip(added) {
        if let Err((Errno::EPERM, text)) = verdict {
            return Err(XfrmError::Refused { operation, errno: Errno::EPERM, text });
        }
        // Another probe's state of the same second proves as much.
        let verdict = if matches!(verdict, Err((Errno::EEXIST, _))) { Ok(()) } else { verdict };
        out.push((algorithm, verdict));
    }
    Ok(out)
}

/// Keys of zeros protect nothing: no packet ever meets this state.
fn throwaway(algorithm: Algorithm, local: IpAddr, remote: IpAddr) -> ChildSa {
    let keys = || EspKeys {
        algorithm,
        encryption: Secret::new(vec![0; algorithm.encryption_length()]),
        integrity: Secret::new(vec![0; algorithm.integrity_length()]),
    };
    ChildSa {
        local,
        remote,
        encap: Some(UdpEncap { local_port: 4500, remote_port: 4500 }),
        mode: Mode::Tunnel,
        spi_in: 0x0AD1_7000,
        spi_out: 0x0AD1_7000,
        keys_in: Some(keys()),
        keys_out: Some(keys()),
        esn: true,
        replay_window: 32,
        if_id: Some(*crate::OUR_IF_IDS.end()),
        reqid: *crate::OUR_REQIDS.end(),
        mark: None,
        output_mark: None,
        input_mark: None,
        lifetimes: Lifetimes { hard_seconds: Some(1), ..Lifetimes::default() },
        clear_df: false,
        policies: Vec::new(),
    }
}

/// Asks for an interface of kind `xfrm` with an if_id of one byte. A kernel that knows the kind (and it loads the
/// module to find out) refuses the byte; one that does not refuses the kind. Either way there is no interface.
fn interface() -> Result<Support, XfrmError> {
    const RTM_NEWLINK: u16 = 16;
    let mut link = Link::open(NETLINK_ROUTE).map_err(XfrmError::Unavailable)?;
    let mut batch = link.batch();
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    batch.request(RTM_NEWLINK, flags, Operation::ProbeInterface, malformed_interface);
    let (operation, verdict) = link
        .exchange(batch, |_| ())?
        .pop()
        .ok_or(XfrmError::Dialogue { operation: Operation::ProbeInterface, why: "no answer".into() })?;
    match verdict {
        Err((errno @ Errno::EPERM, text)) => Err(XfrmError::Refused { operation, errno, text }),
        Err((Errno::EOPNOTSUPP, text)) => Ok(Support::Missing(said(Errno::EOPNOTSUPP, text.as_deref()))),
        Err(_) | Ok(()) => Ok(Support::Present),
    }
}

/// `struct ifinfomsg` of zeros, `IFLA_LINKINFO { IFLA_INFO_KIND "xfrm", IFLA_INFO_DATA { IFLA_XFRM_IF_ID, 1 byte } }`.
fn malformed_interface(out: &mut SecretBuffer) {
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    const IFLA_XFRM_IF_ID: u16 = 2;
    const NESTED: u16 = 0x8000;
    let attribute = |kind: u16, value: &[u8]| {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let data = attribute(IFLA_INFO_DATA | NESTED, &attribute(IFLA_XFRM_IF_ID, &[0]));
    let info = [attribute(IFLA_INFO_KIND, b"xfrm\0"), data].concat();
    out.grow(16);
    out.extend(&attribute(IFLA_LINKINFO | NESTED, &info));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        assert!(at_least("6.12.107+deb13-amd64\n", (6, 10)));
        assert!(
            !at_least("6.1.0-40-amd64", (6, 10)) && !at_least("5.14.0", (6, 10)) && !at_least("", (6, 10))
        );
        assert!(at_least("7.0", (6, 10)));
    }

    #[test]
    fn relatives_answer_for_each_other() {
        let integrity = crate::Integrity::HmacSha256_128;
        let probed = Feature::Algorithm(Algorithm::AesCbc { bits: 256, integrity });
        let all = Capabilities(vec![Capability { feature: probed, support: Support::Present }]);
        assert!(all.has(Feature::Algorithm(Algorithm::AesCbc { bits: 128, integrity })));
        assert!(!all.has(Feature::EspV4));
    }
}
