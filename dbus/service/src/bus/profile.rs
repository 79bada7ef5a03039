//! `org.adit1.Profile`.

use std::sync::Arc;

use zbus::{OwnedObjectPath, interface};

use super::objects::{connection_path, none_path};
use crate::daemon::Daemon;
use crate::files::ProfileFile;

pub(crate) struct ProfileObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) file: Arc<ProfileFile>,
}

impl ProfileObject {
    fn text(&self, read: impl FnOnce(&adit_profile::Profile) -> String) -> String {
        self.file.content.as_ref().map(read).unwrap_or_default()
    }
}

#[interface(name = "org.adit1.Profile")]
impl ProfileObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.file.name.clone()
    }

    #[zbus(property)]
    fn server(&self) -> String {
        self.text(adit_profile::Profile::server)
    }

    #[zbus(property)]
    fn auth(&self) -> String {
        self.text(|p| p.auth.as_str().to_owned())
    }

    #[zbus(property)]
    fn tunnel(&self) -> String {
        self.text(|p| p.tunnel.as_str().to_owned())
    }

    #[zbus(property)]
    fn problems(&self) -> Vec<(String, String, String, String)> {
        match &self.file.content {
            Ok(_) => Vec::new(),
            Err(problems) => problems.clone(),
        }
    }

    #[zbus(property)]
    fn settings(&self) -> Vec<(String, String, bool)> {
        let lines = |p: &adit_profile::Profile| {
            p.settings().into_iter().map(|s| (s.key.to_owned(), s.value, s.default)).collect()
        };
        self.file.content.as_ref().map(lines).unwrap_or_default()
    }

    #[zbus(property)]
    fn connection(&self) -> OwnedObjectPath {
        self.daemon.registry().latest_client(&self.file.name).map_or_else(none_path, connection_path)
    }
}
