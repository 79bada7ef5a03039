//! Keys in PKCS#11 tokens, named as RFC 7512 does: `pkcs11:token=Staff;object=alice`.

use core::fmt;

use crate::value::NameError;

/// Which key of which token. What is not named fits any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TokenKey {
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The key's label (CKA_LABEL).
    pub object: Option<String>,
    /// The key's number (CKA_ID), which its certificate has, too.
    pub id: Option<Vec<u8>>,
}

/// What the name of a key in a token begins with.
pub(crate) const SCHEME: &str = "pkcs11:";
const ALLOWED: &str = "pkcs11:token=LABEL;object=LABEL, perhaps with manufacturer=, model=, serial=, id=%01";

impl TokenKey {
    /// Reads a URI. Where the module is and what the PIN is does not stand in it: a profile must not load a program into
    /// the daemon, nor hold a PIN.
    pub(crate) fn parse(text: &str) -> Result<Self, NameError> {
        let wrong = |why: String| NameError::new(why, ALLOWED.to_owned());
        let path = text.strip_prefix(SCHEME).ok_or_else(|| wrong("it does not begin with pkcs11:".into()))?;
        if path.contains('?') {
            let why = "it has a query (?…): modules are put into /etc/adit/pkcs11, and the PIN into key-password-file";
            return Err(wrong(why.into()));
        }
        let mut out = Self::default();
        for attribute in path.split(';').filter(|a| !a.is_empty()) {
            let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            let bytes = decode(value)
                .ok_or_else(|| wrong(format!("the value of {name} is not as RFC 7512 has it")))?;
            if name == "id" {
                out.id = Some(bytes);
                continue;
            }
            let text =
                String::from_utf8(bytes).map_err(|_| wrong(format!("the value of {name} is not UTF-8")))?;
            let place = match name {
                "token" => &mut out.token,
                "manufacturer" => &mut out.manufacturer,
                "model" => &mut out.model,
                "serial" => &mut out.serial,
                "object" => &mut out.object,
                "type" if text == "private" => continue,
                // RFC 7512 §2.3: what is not known fits nothing.
                _ => return Err(wrong(format!("it names {name}, which no key is chosen by here"))),
            };
            *place = Some(text);
        }
        Ok(out)
    }
}

impl fmt::Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("object", &self.object),
        ];
        f.write_str(SCHEME)?;
        let mut first = true;
        let mut write = |name: &str, value: &[u8], always: bool| {
            let between = if core::mem::take(&mut first) { "" } else { ";" };
            write!(f, "{between}{name}={}", encode(value, always))
        };
        for (name, text) in texts {
            if let Some(text) = text {
                write(name, text.as_bytes(), false)?;
            }
        }
        self.id.as_ref().map_or(Ok(()), |id| write("id", id, true))
    }
}

/// Percent-encoding (RFC 3986 §2.1) undone.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|d| u8::try_from(d).ok());
        out.push(digit()? << 4 | digit()?);
    }
    Some(out)
}

fn encode(bytes: &[u8], always: bool) -> String {
    let plain = |b: u8| !always && (b.is_ascii_alphanumeric() || b"-._~:[]@!$'()*+,=&".contains(&b));
    let write = |b: &u8| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") };
    bytes.iter().map(write).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_named_as_in_rfc_7512() {
        let key =
            TokenKey::parse("pkcs11:token=The%20Software%20PKCS%2311;object=my;type=private;id=%69%95%01")
                .unwrap();
        assert_eq!(key.token.as_deref(), Some("The Software PKCS#11"));
        assert_eq!((key.object.as_deref(), key.id.as_deref()), (Some("my"), Some(&[0x69, 0x95, 1][..])));
        assert_eq!(key.to_string(), "pkcs11:token=The%20Software%20PKCS%2311;object=my;id=%69%95%01");
        assert_eq!(TokenKey::parse("pkcs11:"), Ok(TokenKey::default()));
    }

    #[test]
    fn neither_a_module_nor_a_pin_nor_what_is_not_known_is_taken() {
        for bad in [
            "pkcs11:token=a?module-path=/tmp/evil.so",
            "pkcs11:token=a?pin-value=1234",
            "pkcs11:slot-id=1",
            "pkcs11:type=cert",
            "pkcs11:token=%4",
            "pkcs11:token=%zz",
            "pkcs11:object=%ff",
            "file:/x",
        ] {
            assert!(TokenKey::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(token: Option<String>, object: Option<String>, id: Option<Vec<u8>>) {
            let key = TokenKey { token, object, id, ..TokenKey::default() };
            prop_assert_eq!(TokenKey::parse(&key.to_string()), Ok(key));
        }
    }
}
