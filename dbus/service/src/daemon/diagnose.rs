//! `ctl doctor NAME`: a profile against its servers as they are now.

use std::sync::Arc;

use adit_core::Failure;
use adit_dbus_api::DoctorCheck;

use super::{Daemon, person};
use crate::client;

impl Daemon {
    /// Checks a profile against its servers as they are now, without logging in; and this host for it.
    ///
    /// # Errors
    /// There is no such profile, or it has mistakes.
    pub async fn diagnose(self: &Arc<Self>, name: &str) -> Result<Vec<DoctorCheck>, Failure> {
        Ok(client::diagnose(self, self.files.profile(name)?).await)
    }

    /// The same of a profile that the caller hands over; `limited`: who may not have this host's files read for it.
    ///
    /// # Errors
    /// It has mistakes, or names what is not the caller's to use.
    pub async fn diagnose_content(
        self: &Arc<Self>,
        name: &str,
        toml: &str,
        limited: bool,
    ) -> Result<Vec<DoctorCheck>, Failure> {
        let profile = self.files.profile_from_content(name, toml)?;
        if limited {
            person::may_raise(&profile, &self.files)?;
        }
        Ok(client::diagnose(self, profile).await)
    }
}
