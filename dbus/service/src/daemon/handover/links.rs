//! The same for dialled connections whose link is PPP's.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::warn;

use super::super::{Daemon, lock};
use crate::client::{self, Dial, Found};
use crate::esp::Numbers;
use crate::handover::FoundLink;
use crate::l2tp::numbers_of;
use crate::registry::{Facts, Role};

impl Daemon {
    /// Those that can be gone on with. The others are gone.
    pub(super) fn good_links(&self) -> BTreeMap<String, FoundLink> {
        let mut good = BTreeMap::new();
        for (name, one) in self.handover.take_links() {
            match self.can_go_on(one.number, &one.told.profile, &one.told.print) {
                Ok(()) => drop(good.insert(name, one)),
                Err(why) => {
                    warn!(profile = name, why, "not gone on with: it is dialled anew");
                    one.refuse();
                }
            }
        }
        good
    }

    /// Goes on with these.
    pub(super) fn go_on_with_links(self: &Arc<Self>, links: BTreeMap<String, FoundLink>) {
        let around = links.values().flat_map(|found| numbers_of(&found.snapshot));
        let own = links.values().filter_map(|found| Numbers::of_if_id(found.number));
        for numbers in own.chain(around) {
            self.sad.keep_clear_of(numbers);
        }
        for (name, found) in links {
            let (profile, numbers) = (self.files.profile(&name), Numbers::of_if_id(found.number));
            let (profile, numbers) = match (profile, numbers) {
                (Ok(profile), Some(numbers)) => (profile, numbers),
                (profile, _) => {
                    let why = profile.err().map(|failure| failure.to_string());
                    warn!(profile = name, why, "not gone on with: it is dialled anew");
                    found.refuse();
                    continue;
                }
            };
            let new = Facts::new(Role::Client, &name, &profile.server());
            let facts = Facts { tunnel: profile.kind, dns_by_caller: found.told.dns_by_caller, ..new };
            let id = self.registry.add(facts);
            self.was_raised(&name, id);
            let daemon = Arc::clone(self);
            let found = Some((Found::Link(Box::new(found)), numbers));
            let handle = client::start(Dial { id, profile, daemon, persistent: false, found });
            lock(&self.clients).insert(id, handle);
        }
    }
}
