use zeroize::Zeroizing;

use crate::{MAX_CERTIFICATE_LEN, PkiError};

/// The most that one file of certificates or keys may hold: a system's whole bundle has room.
const MAX_FILE: usize = 4 << 20;

/// One block of a PEM file (RFC 7468).
pub(crate) struct Block {
    pub(crate) label: String,
    /// Whether it has RFC 1421 headers with `ENCRYPTED` (OpenSSL's old format).
    pub(crate) encrypted: bool,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// The certificates in `content`, DER, in their order: PEM blocks named CERTIFICATE, or one certificate in
/// DER. Other blocks and text between them are skipped.
pub fn read_certificates(content: &[u8]) -> Result<Vec<Vec<u8>>, PkiError> {
    if !is_pem(content) {
        return match content.len() {
            0 => Err(PkiError::Malformed("the file is empty")),
            n if n > MAX_CERTIFICATE_LEN => Err(PkiError::Malformed("it is larger than 64 KiB")),
            _ => Ok(vec![content.to_vec()]),
        };
    }
    let certificates: Vec<Vec<u8>> = blocks(content)?
        .into_iter()
        .filter(|b| matches!(b.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|b| b.der.to_vec())
        .collect();
    if certificates.is_empty() {
        return Err(PkiError::Malformed("the file has no block BEGIN CERTIFICATE"));
    }
    Ok(certificates)
}

/// Whether `content` is PEM: DER begins with a SEQUENCE, and has no such line.
pub(crate) fn is_pem(content: &[u8]) -> bool {
    content.first() != Some(&0x30) && content.windows(11).any(|w| w == b"-----BEGIN ")
}

/// Every block of `content`.
pub(crate) fn blocks(content: &[u8]) -> Result<Vec<Block>, PkiError> {
    if content.len() > MAX_FILE {
        return Err(PkiError::Malformed("the file is larger than 4 MiB"));
    }
    let mut out = Vec::new();
    let mut lines = content.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    while let Some(line) = lines.next() {
        let Some(label) = boundary(line, b"-----BEGIN ") else {
            continue;
        };
        out.push(block(label, &mut lines)?);
    }
    Ok(out)
}

fn block<'a>(label: &str, lines: &mut impl Iterator<Item = &'a [u8]>) -> Result<Block, PkiError> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * MAX_CERTIFICATE_LEN));
    let mut encrypted = false;
    for line in lines {
        if let Some(end) = boundary(line, b"-----END ") {
            if end != label {
                return Err(PkiError::Malformed("a PEM block ends with another name than it begins with"));
            }
            return Ok(Block { label: label.into(), encrypted, der: base64(&text)? });
        }
        if line.contains(&b':') {
            encrypted |= line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
        } else if text.len() + line.len() > text.capacity() {
            return Err(PkiError::Malformed("a PEM block is too large"));
        } else if !(encrypted && line.contains(&b',')) {
            text.extend_from_slice(line);
        }
    }
    Err(PkiError::Malformed("a PEM block has no end"))
}

fn boundary<'a>(line: &'a [u8], begin: &[u8]) -> Option<&'a str> {
    let label = line.strip_prefix(begin)?.strip_suffix(b"-----")?;
    core::str::from_utf8(label).ok()
}

fn base64(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PkiError> {
    const BAD: PkiError = PkiError::Malformed("a PEM block is not base64");
    let mut out = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
    let mut bits = 0_u32;
    let mut count = 0_u8;
    let mut padding = 0_u8;
    for byte in text.iter().filter(|b| !b.is_ascii_whitespace()) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding += 1;
                if padding > 2 {
                    return Err(BAD);
                }
                continue;
            }
            _ => return Err(BAD),
        };
        if padding > 0 {
            return Err(BAD);
        }
        bits = bits << 6 | u32::from(value);
        count += 1;
        if count == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..]);
            (bits, count) = (0, 0);
        }
    }
    match (count, padding) {
        (0, 0) => {}
        (2, 2) => out.extend_from_slice(&[(bits >> 4) as u8]),
        (3, 1) => out.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => return Err(BAD),
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(text: &str) -> Option<Vec<u8>> {
        base64(text.as_bytes()).ok().map(|v| v.to_vec())
    }

    #[test]
    fn base64_as_in_rfc_4648() {
        for (text, bytes) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg==", "foob"),
            ("Zm9v\r\nYmFy", "foobar"),
        ] {
            assert_eq!(decode(text).unwrap(), bytes.as_bytes());
        }
        for bad in ["Z", "Zg", "Zg=", "Zg===", "Zm9v=", "Z=g=", "Zm9!"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn blocks_with_text_between_and_crlf() {
        let file = b"subject=CN = x\r\n-----BEGIN CERTIFICATE-----\r\nZm9v\r\n-----END CERTIFICATE-----\r\n\
                     -----BEGIN EC PARAMETERS-----\nYmFy\n-----END EC PARAMETERS-----\n\
                     -----BEGIN CERTIFICATE-----\nYmFy\n-----END CERTIFICATE-----";
        assert_eq!(read_certificates(file).unwrap(), [b"foo", b"bar"]);
    }

    #[test]
    fn openssl_headers_are_seen() {
        let file = b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nZm9v\n-----END RSA PRIVATE KEY-----\n";
        let found = blocks(file).unwrap();
        assert!(found[0].encrypted);
    }

    #[test]
    fn unfinished_and_mixed_blocks_are_refused() {
        assert!(blocks(b"-----BEGIN CERTIFICATE-----\nZm9v\n").is_err());
        assert!(blocks(b"-----BEGIN CERTIFICATE-----\nZm9v\n-----END PRIVATE KEY-----\n").is_err());
        assert!(read_certificates(b"").is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = b"-----BEGIN CERTIFICATE-----\n".to_vec();
            file.extend_from_slice(&bytes);
            let _ = read_certificates(&file);
            file.extend_from_slice(b"\n-----END CERTIFICATE-----\n");
            let _ = read_certificates(&file);
            let _ = read_certificates(&bytes);
        }
    }
}
