//! What is a secret by its form, wherever it stands. Nothing that is asked for a report gives secrets out; this is for what
//! somebody has put where none belongs.

/// Keys whose value is a secret.
const KEYS: &[&str] = &["password", "passphrase", "psk", "ppk", "secret", "pin"];
/// Digits from which on a hexadecimal number is a key or a hash.
const KEY_DIGITS: usize = 32;

/// How long the secret is that the text begins with.
pub(super) fn at(text: &str) -> Option<usize> {
    hexadecimal(text).or_else(|| hash(text))
}

fn hexadecimal(text: &str) -> Option<usize> {
    let prefix = if text.starts_with("0x") { 2 } else { 0 };
    let digits = text.get(prefix..)?.bytes().take_while(u8::is_ascii_hexdigit).count();
    (digits >= KEY_DIGITS).then(|| prefix.saturating_add(digits))
}

/// As crypt(3) writes them: `$6$salt$hash`.
fn hash(text: &str) -> Option<usize> {
    let id = text.strip_prefix('$')?.split('$').next()?;
    let end = text.find(|c: char| c.is_whitespace() || "\"',".contains(c)).unwrap_or(text.len());
    let parts = text.get(..end)?.matches('$').count();
    let known = (1..=8).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    (known && parts >= 3).then_some(end)
}

/// A key whose value is a secret, with what stands between, and the value.
pub(super) fn assigned(text: &str) -> Option<(&str, usize)> {
    let key = KEYS.iter().find(|key| text.starts_with(**key))?;
    let after = text.get(key.len()..)?;
    let spaces = after.len().saturating_sub(after.trim_start_matches(' ').len());
    let sign = after.get(spaces..)?.strip_prefix('=')?;
    let value = sign.trim_start_matches(' ');
    let begin = text.len().saturating_sub(value.len());
    if value.starts_with("(hidden)") {
        return None;
    }
    let length = match value.strip_prefix('"') {
        Some(quoted) => quoted.find('"').map_or(value.trim_end().len(), |end| end.saturating_add(2)),
        None => value.find(char::is_whitespace).unwrap_or(value.len()),
    };
    (length > 0).then(|| text.get(..begin).map(|lead| (lead, begin.saturating_add(length))))?
}
