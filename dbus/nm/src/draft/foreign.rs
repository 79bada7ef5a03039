//! What the connections of other plugins have in common: each key is used, known to change nothing here, or refused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use adit_core::Failure;

use super::mistake;
use crate::settings::Settings;

/// `vpn.data` of another plugin's, and what of it has been read.
pub(super) struct Data<'s> {
    settings: &'s Settings,
    plugin: &'static str,
    read: RefCell<BTreeSet<&'static str>>,
}

impl<'s> Data<'s> {
    pub(super) fn of(settings: &'s Settings, plugin: &'static str) -> Self {
        Self { settings, plugin, read: RefCell::default() }
    }

    /// A value that is not empty.
    pub(super) fn get(&self, key: &'static str) -> Option<&'s str> {
        self.read.borrow_mut().insert(key);
        self.settings.data.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether it says `yes`.
    pub(super) fn yes(&self, key: &'static str) -> bool {
        matches!(self.get(key), Some("yes" | "true" | "1"))
    }

    /// A value that there has to be.
    pub(super) fn must(&self, key: &'static str) -> Result<&'s str, Failure> {
        let plugin = self.plugin;
        self.get(key)
            .ok_or_else(|| mistake(format!("vpn.data of a connection of {plugin}: `{key}` is missing")))
    }

    /// A key that can't be carried over, if it is there.
    pub(super) fn not(&self, key: &'static str, instead: &str) -> Result<(), Failure> {
        match self.get(key) {
            Some(value) if value != "no" => Err(self.refused(key, instead)),
            _ => Ok(()),
        }
    }

    pub(super) fn refused(&self, key: &str, instead: &str) -> Failure {
        let plugin = self.plugin;
        mistake(format!("vpn.data of a connection of {plugin}: `{key}` is not carried over")).hint(instead)
    }

    /// Whatever is there has been read, or changes nothing: what is not understood could be what keeps somebody out.
    pub(super) fn done(&self, harmless: &[&str]) -> Result<(), Failure> {
        let read = self.read.borrow();
        let known = |key: &str| read.contains(key) || harmless.contains(&key) || key.ends_with("-flags");
        match self.settings.data.keys().find(|key| !known(key)) {
            Some(key) => {
                let key = key.escape_debug().to_string();
                Err(self
                    .refused(&key, &format!("take it out:  nmcli connection modify NAME -vpn.data {key}")))
            }
            None => Ok(()),
        }
    }
}

/// Proposals, which plugins write in a row.
pub(super) fn proposals(text: &str) -> Vec<&str> {
    text.trim_end_matches('!').split([';', ',', ' ']).filter(|one| !one.is_empty()).collect()
}
