//! A CHILD_SA in the kernel, by `ip`.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use adit_core::{Secret, TrafficSelector};
use adit_isakmp::{Encryption, EspSuite, Integrity};

use crate::child::Child;

/// Its two states.
pub(crate) fn states((ours, theirs): (SocketAddr, SocketAddr), child: &Child) -> Result<(), String> {
    let (ours, theirs) = (ours.ip(), theirs.ip());
    let (out, back) = (&child.keys.initiator, &child.keys.responder);
    state((ours, theirs), child.outbound, child.suite, (&out.encryption, &out.integrity), "tunnel")?;
    state((theirs, ours), child.inbound, child.suite, (&back.encryption, &back.integrity), "tunnel")
}

/// Takes them away.
pub(crate) fn remove((ours, theirs): (SocketAddr, SocketAddr), child: &Child) -> Result<(), String> {
    let (ours, theirs) = (ours.ip(), theirs.ip());
    for (from, to, spi) in [(ours, theirs, child.outbound), (theirs, ours, child.inbound)] {
        ip(&format!("xfrm state delete src {from} dst {to} proto esp spi {spi:#x}"))?;
    }
    Ok(())
}

/// The addresses on `lo`, and policies and routes for what the server lets us reach.
pub(crate) fn policies(
    (ours, theirs): (SocketAddr, SocketAddr),
    child: &Child,
    addresses: &[IpAddr],
) -> Result<(), String> {
    let (outer, peer) = (ours.ip(), theirs.ip());
    let device = device_to(peer)?;
    for address in addresses {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        ip(&format!("addr add {address}/{bits} dev lo"))?;
        for prefix in
            child.remote.iter().flat_map(prefixes).filter(|(to, _)| to.is_ipv4() == address.is_ipv4())
        {
            let remote = format!("{}/{}", prefix.0, prefix.1);
            let tmpl = |from, to| format!("tmpl src {from} dst {to} proto esp reqid 1 mode tunnel");
            ip(&format!("xfrm policy add src {address}/{bits} dst {remote} dir out {}", tmpl(outer, peer)))?;
            ip(&format!("xfrm policy add src {remote} dst {address}/{bits} dir in {}", tmpl(peer, outer)))?;
            ip(&format!("route add {remote} dev {device} src {address}"))?;
        }
    }
    Ok(())
}

/// The link that leads there.
pub(crate) fn device_to(peer: IpAddr) -> Result<String, String> {
    let route = ip(&format!("-o route get {peer}"))?;
    let device = route.split_whitespace().skip_while(|word| *word != "dev").nth(1);
    device.map(str::to_owned).ok_or_else(|| "no route".to_owned())
}

fn prefixes(selector: &TrafficSelector) -> Vec<(IpAddr, u8)> {
    selector.addresses.prefixes().into_iter().map(|prefix| (prefix.address, prefix.length)).collect()
}

/// One state. `keys`: of encryption, of integrity.
pub(crate) fn state(
    (from, to): (IpAddr, IpAddr),
    spi: u32,
    suite: EspSuite,
    keys: (&Secret, &Secret),
    mode: &str,
) -> Result<(), String> {
    let key = |secret: &Secret| {
        secret.expose().iter().fold("0x".to_owned(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let encryption = key(keys.0);
    let algorithms = match (suite.encryption, suite.integrity) {
        (Encryption::AesGcm16(_), _) => format!("aead rfc4106(gcm(aes)) {encryption} 128"),
        (Encryption::ChaCha20Poly1305, _) => format!("aead rfc7539esp(chacha20,poly1305) {encryption} 128"),
        (cipher, Some(integrity)) => {
            let (name, bits) = match integrity {
                Integrity::HmacSha1_96 => ("hmac(sha1)", 96),
                Integrity::HmacSha256_128 => ("hmac(sha256)", 128),
                Integrity::HmacSha384_192 => ("hmac(sha384)", 192),
                Integrity::HmacSha512_256 => ("hmac(sha512)", 256),
            };
            let cipher = if cipher.to_string() == "3des" { "cbc(des3_ede)" } else { "cbc(aes)" };
            format!("auth-trunc {name} {} {bits} enc {cipher} {encryption}", key(keys.1))
        }
        (cipher, None) => return Err(format!("{cipher} without integrity")),
    };
    let window = if suite.esn {
        "replay-window 32 flag af-unspec flag esn"
    } else {
        "replay-window 32 flag af-unspec"
    };
    ip(&format!(
        "xfrm state add src {from} dst {to} proto esp spi {spi:#x} reqid 1 mode {mode} {window} {algorithms}"
    ))
    .map(drop)
}

/// Runs `ip`, and leaves keys out of what it says.
pub(crate) fn ip(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split(' ')).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let command = arguments
            .split(" aead ")
            .next()
            .unwrap_or_default()
            .split(" auth-trunc ")
            .next()
            .unwrap_or_default();
        Err(format!("ip {command}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}
