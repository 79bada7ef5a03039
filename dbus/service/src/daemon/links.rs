//! Names of interfaces.

use adit_core::{Failure, FailureCode, Step};
use adit_profile::LinkName;

use super::Daemon;

impl Daemon {
    /// The name of an interface to be: `wanted`, or the first `aditN` that neither the kernel nor another connection of
    /// ours has.
    ///
    /// # Errors
    /// `wanted` is taken, or the kernel does not list its links.
    pub async fn reserve_link_name(&self, wanted: LinkName<'_>) -> Result<String, Failure> {
        let mut reserved = self.link_names.lock().await;
        let links = self.doors.host.links().await?;
        let taken = |name: &str| reserved.contains(name) || links.iter().any(|l| l.name == name);
        let name = match wanted {
            LinkName::Exactly(name) if taken(name) => {
                let text = format!("there is an interface {name} already");
                return Err(Failure::new(FailureCode::KernelRefused, Step::Network, text)
                    .hint("choose another  interface  in the profile, or leave it out"));
            }
            LinkName::Exactly(name) => name.to_owned(),
            LinkName::First(prefix) => {
                (0_u32..).map(|n| format!("{prefix}{n}")).find(|n| !taken(n)).unwrap_or_default()
            }
        };
        reserved.insert(name.clone());
        Ok(name)
    }

    /// An interface of that name stands already, and is ours.
    pub(crate) async fn link_name_is_ours(&self, name: &str) {
        self.link_names.lock().await.insert(name.to_owned());
    }

    /// Gives a name back.
    pub async fn release_link_name(&self, name: &str) {
        self.link_names.lock().await.remove(name);
    }
}
