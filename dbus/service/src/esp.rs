//! What IKE agreed, as the kernel takes it.

use adit_core::{Failure, FailureCode, Path, Step};
use adit_ikev2::api::{ChildSa, EspKeys};
use adit_xfrm_kernel::{
    self as xfrm, AllocateSpi, Lifetimes, Mark, Mode, OUR_IF_IDS, OUR_REQIDS, PolicyId, PolicyPlan, StateId,
    UdpEncap, XfrmDoor,
};

use crate::host::{MARK, MARK_MASK};
use crate::suites;

/// The numbers by which what stands in the kernel is known as a connection's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Numbers {
    /// The xfrm interface's if_id.
    pub if_id: u32,
    /// Its states' and policies' reqid.
    pub reqid: u32,
}

impl Numbers {
    /// The `n`th numbers; `n` counts anew after 16 million.
    #[must_use]
    pub const fn nth(n: u32) -> Self {
        let n = n & 0x00FF_FFFF;
        Self { if_id: *OUR_IF_IDS.start() + n, reqid: *OUR_REQIDS.start() + n }
    }

    /// The routing table of a tunnel: its if_id, so that one can be told from the other.
    #[must_use]
    pub const fn table(self) -> u32 {
        self.if_id
    }
}

/// A CHILD_SA ready for the kernel, and what it will be found by.
pub struct TunnelSa {
    /// For the door.
    pub child: xfrm::ChildSa,
    /// The inbound and the outbound state.
    pub states: (StateId, StateId),
    /// Its policies.
    pub policies: Vec<PolicyId>,
}

/// Reserves an inbound SPI; also says what its larval state is found by, since a reservation that is not used has to
/// be given back. One system call, of microseconds: no other thread is woken for it.
///
/// # Errors
/// The kernel refused.
pub fn allocate_spi(xfrm: &dyn XfrmDoor, path: Path, numbers: Numbers) -> Result<(u32, StateId), Failure> {
    let (local, remote) = (path.local.ip(), path.remote.ip());
    let request = AllocateSpi::tunnel(local, remote, numbers.reqid, Some(numbers.if_id));
    let spi = xfrm.allocate_spi(&request)?;
    Ok((spi, StateId { destination: local, spi, mark: None }))
}

/// Makes a CHILD_SA of what IKE agreed, with its policies.
///
/// # Errors
/// Traffic selectors that the kernel's policies cannot express.
pub fn kernel_child(agreed: ChildSa, numbers: Numbers) -> Result<TunnelSa, Failure> {
    let algorithm = suites::algorithm(agreed.suite)?;
    let plan = PolicyPlan {
        local: agreed.path.local.ip(),
        remote: agreed.path.remote.ip(),
        mode: Mode::Tunnel,
        reqid: numbers.reqid,
        if_id: Some(numbers.if_id),
        mark: None,
        priority: PolicyPlan::DEFAULT_PRIORITY,
    };
    let policies = plan.policies(&agreed.local_ts, &agreed.remote_ts).map_err(|e| {
        Failure::new(
            FailureCode::TrafficSelectors,
            Step::Child,
            format!("the agreed traffic cannot be carried: {e}"),
        )
    })?;
    let keys =
        |keys: EspKeys| xfrm::EspKeys { algorithm, encryption: keys.encryption, integrity: keys.integrity };
    let encap = agreed
        .encapsulated
        .then(|| UdpEncap { local_port: agreed.path.local.port(), remote_port: agreed.path.remote.port() });
    let child = xfrm::ChildSa {
        local: plan.local,
        remote: plan.remote,
        encap,
        mode: plan.mode,
        spi_in: agreed.inbound_spi,
        spi_out: agreed.outbound_spi,
        keys_in: Some(keys(agreed.inbound)),
        keys_out: agreed.outbound.map(keys),
        esn: agreed.suite.esn,
        replay_window: xfrm::ChildSa::DEFAULT_REPLAY_WINDOW,
        if_id: plan.if_id,
        reqid: plan.reqid,
        mark: None,
        output_mark: Some(Mark { value: MARK, mask: MARK_MASK }),
        lifetimes: Lifetimes::default(),
        clear_df: false,
        policies: policies.clone(),
    };
    let states = (child.inbound(), child.outbound());
    Ok(TunnelSa { states, policies: policies.iter().map(|p| p.id).collect(), child })
}
