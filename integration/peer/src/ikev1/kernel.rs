//! CHILD_SAs in transport mode in the kernel.

use std::collections::BTreeMap;

use adit_core::TrafficSelector;
use adit_ikev1::api::{ChildId, ChildSa, EspKeys};

use crate::install::{ip, state};

/// What is there.
#[derive(Default)]
pub(crate) struct Kernel {
    children: BTreeMap<ChildId, ChildSa>,
    /// Policies, by what they let through.
    policies: Vec<(String, String)>,
}

impl Kernel {
    /// A pair, or its inbound half.
    pub(crate) fn install(&mut self, sa: ChildSa) -> Result<(), String> {
        let (ours, theirs) = (sa.path.local.ip(), sa.path.remote.ip());
        // Before the inbound half, even if it comes alone: what comes by it is not answered in clear.
        self.policies(&sa)?;
        state(
            (theirs, ours),
            sa.inbound_spi,
            sa.suite,
            (&sa.inbound.encryption, &sa.inbound.integrity),
            "transport",
        )?;
        if let Some(keys) = &sa.outbound {
            state(
                (ours, theirs),
                sa.outbound_spi,
                sa.suite,
                (&keys.encryption, &keys.integrity),
                "transport",
            )?;
        }
        self.children.insert(sa.child, sa);
        Ok(())
    }

    /// The outbound half.
    pub(crate) fn outbound(&mut self, child: ChildId, keys: &EspKeys) -> Result<(), String> {
        let sa = self.children.get(&child).ok_or("no such CHILD_SA")?;
        let (ours, theirs) = (sa.path.local.ip(), sa.path.remote.ip());
        state((ours, theirs), sa.outbound_spi, sa.suite, (&keys.encryption, &keys.integrity), "transport")
    }

    /// Takes a pair away.
    pub(crate) fn remove(&mut self, child: ChildId) -> Result<(), String> {
        let Some(sa) = self.children.remove(&child) else {
            return Ok(());
        };
        let (ours, theirs) = (sa.path.local.ip(), sa.path.remote.ip());
        for (from, to, spi) in [(theirs, ours, sa.inbound_spi), (ours, theirs, sa.outbound_spi)] {
            // A half that never came is not there to be taken away.
            _ = ip(&format!("xfrm state delete src {from} dst {to} proto esp spi {spi:#x}"));
        }
        if self.children.is_empty() {
            return self.clear();
        }
        Ok(())
    }

    /// Takes everything away.
    pub(crate) fn clear(&mut self) -> Result<(), String> {
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            self.remove(id)?;
        }
        for (selector, direction) in std::mem::take(&mut self.policies) {
            ip(&format!("xfrm policy delete {selector} dir {direction}"))?;
        }
        Ok(())
    }

    fn policies(&mut self, sa: &ChildSa) -> Result<(), String> {
        if !self.policies.is_empty() {
            return Ok(());
        }
        let (Some(local), Some(remote)) = (sa.local_ts.first(), sa.remote_ts.first()) else {
            return Err("no selectors".into());
        };
        let (ours, theirs) = (sa.path.local.ip(), sa.path.remote.ip());
        let out = selector(local, remote);
        let back = selector(remote, local);
        for (selector, direction, from, to) in [(out, "out", ours, theirs), (back, "in", theirs, ours)] {
            ip(&format!(
                "xfrm policy add {selector} dir {direction} tmpl src {from} dst {to} proto esp reqid 1 mode transport"
            ))?;
            self.policies.push((selector, direction.into()));
        }
        Ok(())
    }
}

fn selector(from: &TrafficSelector, to: &TrafficSelector) -> String {
    let (source, destination) = (from.addresses.first, to.addresses.first);
    let bits = if source.is_ipv4() { 32 } else { 128 };
    let mut text = format!("src {source}/{bits} dst {destination}/{bits} proto {}", from.protocol);
    if from.protocol == 17 && from.first_port == from.last_port {
        text.push_str(&format!(" sport {} dport {}", from.first_port, to.first_port));
    }
    text
}
