//! Files that the person names beside a profile: certificates and keys that it refers to. A profile only ever gets what
//! stands on the command line; a path in it opens nothing.

use core::cell::Cell;

use adit_core::Secret;

use crate::format::{Content, pem_of_certificates, text};
use crate::report::ImportError;

/// A file on the command line.
pub(crate) struct Companion {
    /// Its name, without directories.
    pub(crate) name: String,
    pub(crate) content: Content,
    pub(crate) bytes: Secret,
    /// For certificates and PEM with them: whether the first is an authority's.
    pub(crate) authority: bool,
    pub(crate) used: Cell<bool>,
}

#[derive(Default)]
pub(crate) struct Companions {
    all: Vec<Companion>,
}

impl Companions {
    pub(crate) fn push(&mut self, name: &str, content: Content, bytes: Secret) -> Result<(), ImportError> {
        let mut authority = false;
        if content == Content::Certificates {
            let (_, all) = pem_of_certificates(bytes.expose()).map_err(|why| {
                ImportError::new(
                    format!("{}: {why}", name.escape_debug()),
                    "name a certificate as PEM or DER",
                )
            })?;
            authority = all.first().is_some_and(|der| adit_pki::is_authority(der));
        }
        self.all.push(Companion { name: name.to_owned(), content, bytes, authority, used: Cell::new(false) });
        Ok(())
    }

    /// The one that `path` is for: whose name is the path's last part.
    pub(crate) fn named(&self, path: &str) -> Option<&Companion> {
        let name = base_name(path);
        let found = self.all.iter().find(|c| c.name == name)?;
        found.used.set(true);
        Some(found)
    }

    /// Those of a kind that nobody has asked for by name.
    fn others(&self, wanted: impl Fn(&Companion) -> bool) -> Vec<&Companion> {
        self.all.iter().filter(|c| wanted(c)).collect()
    }

    /// Certificates of authorities.
    pub(crate) fn authorities(&self) -> Vec<&Companion> {
        self.others(|c| c.authority)
    }

    /// A certificate with its key, as they are: of PKCS#12, or PEM.
    pub(crate) fn own(&self) -> Vec<&Companion> {
        self.others(|c| match c.content {
            Content::Pkcs12 | Content::Key => true,
            Content::Certificates => !c.authority,
            Content::Profile(_) | Content::IpsecSecrets => false,
        })
    }

    /// Texts of `ipsec.secrets` files.
    pub(crate) fn ipsec_secrets(&self) -> Vec<zeroize::Zeroizing<String>> {
        let found = self.all.iter().filter(|c| c.content == Content::IpsecSecrets);
        found.inspect(|c| c.used.set(true)).filter_map(|c| text(c.bytes.expose()).ok()).collect()
    }

    /// The names of those that nobody needed.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.all.iter().filter(|c| !c.used.get()).map(|c| c.name.as_str())
    }
}

/// The last part of a path, of Windows too, or of a `file:` URI.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
