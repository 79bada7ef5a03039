//! The options of `Up` and `UpContent`.

use std::collections::{BTreeMap, HashMap};

use adit_core::{Failure, FailureCode, Step};
use adit_profile::proxy_address;
use zbus::OwnedVariant;

use crate::raise::{DesktopProxy, Raise};

/// What they say.
///
/// # Errors
/// One that there is not, or with a value that it can't have: whoever asks for something gets it, or hears that not.
pub(super) fn raise(options: &HashMap<String, OwnedVariant>) -> Result<Raise, Failure> {
    let mut how = Raise::default();
    // In their order, so that of two mistakes always the same one is told.
    for (key, value) in options.iter().collect::<BTreeMap<_, _>>() {
        match (key.as_str(), value.downcast_ref::<&str>().ok()) {
            ("dns", Some("caller")) => how.dns_by_caller = true,
            ("dns", _) => return Err(wrong("the option \"dns\" has a value that it can't have".to_owned())),
            ("proxy", Some("direct")) => how.proxy = Some(DesktopProxy::Direct),
            ("proxy", Some(address)) => {
                let server = proxy_address(address)
                    .map_err(|error| wrong(format!("the option \"proxy\" is none: {}", error.why)))?;
                how.proxy = Some(DesktopProxy::Named(server));
            }
            ("proxy", None) => return Err(wrong("the option \"proxy\" is no text".to_owned())),
            _ => return Err(wrong(format!("there is no option \"{}\"", key.escape_debug()))),
        }
    }
    Ok(how)
}

fn wrong(text: String) -> Failure {
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
        .hint("there are  dns, a string, \"caller\", and  proxy, a string, \"direct\" or \"proxy.example.com:3128\"")
}

#[cfg(test)]
mod tests {
    use zbus::Variant;

    use super::*;

    fn of(options: &[(&str, Variant<'_>)]) -> Result<Raise, Failure> {
        raise(&options.iter().map(|(key, v)| ((*key).to_owned(), v.try_to_owned().unwrap())).collect())
    }

    #[test]
    fn what_is_not_known_is_told() {
        assert_eq!(of(&[]), Ok(Raise::default()));
        assert!(of(&[("dns", "caller".into())]).unwrap().dns_by_caller);
        assert!(of(&[("dns", "daemon".into())]).is_err());
        assert_eq!(of(&[("proxy", "direct".into())]).unwrap().proxy, Some(DesktopProxy::Direct));
        let named = DesktopProxy::Named("proxy.example.com:3128".parse().unwrap());
        assert_eq!(of(&[("proxy", "http://proxy.example.com:3128".into())]).unwrap().proxy, Some(named));
        assert!(of(&[("proxy", "proxy.example.com".into())]).is_err());
        assert!(of(&[("proxy", "socks5://proxy.example.com:1080".into())]).is_err());
        assert!(of(&[("dns", true.into())]).is_err());
        let failure = of(&[("speed", 9_u32.into()), ("dns", "caller".into())]).unwrap_err();
        assert_eq!(failure.text, "there is no option \"speed\"");
    }
}
