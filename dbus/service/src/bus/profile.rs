//! `org.adit1.Profile`.

use std::collections::HashMap;
use std::sync::Arc;

use zbus::{OwnedObjectPath, Variant, interface};

use super::objects::{connection_path, none_path};
use crate::daemon::Daemon;
use crate::files::ProfileFile;

pub(crate) struct ProfileObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) file: Arc<ProfileFile>,
}

type Problems = Vec<(String, String, String, String)>;
type Settings = Vec<(String, String, bool)>;

fn text(file: &ProfileFile, read: impl FnOnce(&adit_profile::Profile) -> String) -> String {
    file.content.as_ref().map(read).unwrap_or_default()
}

fn server(file: &ProfileFile) -> String {
    text(file, adit_profile::Profile::server)
}

fn auth(file: &ProfileFile) -> String {
    text(file, |p| p.auth.as_str().to_owned())
}

fn tunnel(file: &ProfileFile) -> String {
    text(file, |p| p.tunnel.as_str().to_owned())
}

fn problems(file: &ProfileFile) -> Problems {
    file.content.as_ref().err().cloned().unwrap_or_default()
}

fn settings(file: &ProfileFile) -> Settings {
    let lines = |p: &adit_profile::Profile| {
        p.settings().into_iter().map(|s| (s.key.to_owned(), s.value, s.default)).collect()
    };
    file.content.as_ref().map(lines).unwrap_or_default()
}

/// The properties that differ between a file and what it is now, each as it is now.
pub(super) fn differences(old: &ProfileFile, new: &ProfileFile) -> HashMap<&'static str, Variant<'static>> {
    let mut out = HashMap::new();
    for (name, read) in [("Server", server as fn(&ProfileFile) -> String), ("Auth", auth), ("Tunnel", tunnel)]
    {
        if read(old) != read(new) {
            out.insert(name, read(new).into());
        }
    }
    if problems(old) != problems(new) {
        out.insert("Problems", problems(new).into());
    }
    if settings(old) != settings(new) {
        out.insert("Settings", settings(new).into());
    }
    out
}

#[interface(name = "org.adit1.Profile")]
impl ProfileObject {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.file.name.clone()
    }

    #[zbus(property)]
    fn server(&self) -> String {
        server(&self.file)
    }

    #[zbus(property)]
    fn auth(&self) -> String {
        auth(&self.file)
    }

    #[zbus(property)]
    fn tunnel(&self) -> String {
        tunnel(&self.file)
    }

    #[zbus(property)]
    fn problems(&self) -> Problems {
        problems(&self.file)
    }

    #[zbus(property)]
    fn settings(&self) -> Settings {
        settings(&self.file)
    }

    #[zbus(property)]
    fn connection(&self) -> OwnedObjectPath {
        self.daemon.registry().latest_client(&self.file.name).map_or_else(none_path, connection_path)
    }
}
