//! Names of profiles, from what a file calls its connections. A name is never a path.

use adit_profile::ProfileName;

use crate::draft::Draft;
use crate::report::ImportError;

/// Room for the endings of files beside it, and for a number.
const LONGEST: usize = 48;

/// A name for each.
pub(crate) fn of(drafts: &[Draft<'_>], said: Option<&ProfileName>) -> Result<Vec<ProfileName>, ImportError> {
    if let Some(said) = said {
        if drafts.len() > 1 {
            let known: Vec<String> =
                drafts.iter().map(|d| format!("\"{}\"", crate::draft::clean(&d.called))).collect();
            let text = format!("it has {} connections, which can't all be called {said}", drafts.len());
            return Err(ImportError::new(text, format!("choose one: --entry {}", known.join(" | "))));
        }
        return Ok(drafts.iter().map(|_| said.clone()).collect());
    }
    let mut taken: Vec<ProfileName> = Vec::new();
    for draft in drafts {
        let plain = [draft.called.as_str(), draft.context.stem].into_iter().find_map(plain);
        let plain = plain.unwrap_or_else(|| "imported".to_owned());
        let numbered = (2..=drafts.len().saturating_add(1)).map(|n| format!("{plain}-{n}"));
        let free = core::iter::once(plain.clone()).chain(numbered).filter_map(|name| name.parse().ok());
        let name = free.into_iter().find(|name| !taken.contains(name));
        taken.push(
            name.ok_or_else(|| ImportError::new("its connections have no names", "say one: --name NAME"))?,
        );
    }
    Ok(taken)
}

/// Letters, digits and what may stand between them.
pub(crate) fn plain(called: &str) -> Option<String> {
    let mut out = String::new();
    for c in called.chars() {
        let fits = c.is_ascii_alphanumeric() || "_.@".contains(c);
        match (fits, out.ends_with('-')) {
            (true, _) => out.push(c),
            (false, false) if !out.is_empty() => out.push('-'),
            (false, _) => {}
        }
        if out.len() >= LONGEST {
            break;
        }
    }
    let out = out.trim_matches(['-', '.', '_', '@']);
    (!out.is_empty()).then(|| out.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_a_path() {
        assert_eq!(plain("Corp VPN (Berlin)").unwrap(), "Corp-VPN-Berlin");
        assert_eq!(plain("../../etc/passwd").unwrap(), "etc-passwd");
        assert_eq!(plain("бюро"), None);
        assert_eq!(plain(&"x".repeat(500)).unwrap().len(), LONGEST);
        for text in ["a\nb", "\0", "-", "..", "a/../b"] {
            if let Some(name) = plain(text) {
                assert!(name.parse::<ProfileName>().is_ok(), "{name}");
            }
        }
    }
}
