//! The test PKI, made anew for each run by OpenSSL.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use adit_lab::scenario::{Certificate, Scenario};

use crate::{
    host::run,
    topology::{Topology, own_configuration},
};

/// Makes the scenario's keys and certificates and puts them where it says.
pub(crate) fn make(
    scenario: &Scenario,
    topology: &Topology,
    work: &Path,
    prefix: &str,
) -> Result<(), String> {
    if scenario.certificate.is_empty() {
        return Ok(());
    }
    let folder = work.join(prefix).join("pki");
    fs::create_dir_all(folder.join("issued")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let configuration = "[ca]\ndefault_ca = lab\n[lab]\ndatabase = index\nnew_certs_dir = issued\ndefault_md = default\n\
        policy = any\nunique_subject = no\nrand_serial = yes\nemail_in_dn = no\n[any]\ncommonName = supplied\n[req]\n\
        distinguished_name = dn\n[dn]\n";
    write(&folder.join("openssl.cnf"), configuration)?;
    write(&folder.join("index"), "")?;
    for certificate in &scenario.certificate {
        one(certificate, &folder)?;
        let inside = format!("/mnt/{prefix}/pki/{}", certificate.name);
        let certificates = certificate.certificate_to.iter().map(|to| (to, "crt", "0644"));
        for (target, kind, mode) in
            certificates.chain(certificate.key_to.iter().map(|to| (to, "key", "0600")))
        {
            let (host, path) = target.split_once(':').unwrap_or_default();
            let script = format!("mkdir -p $(dirname {path}) && install -m {mode} '{inside}.{kind}' {path}");
            topology.host(host)?.must(&script)?;
        }
    }
    topology.hosts.values().try_for_each(own_configuration)
}

fn one(certificate: &Certificate, folder: &Path) -> Result<(), String> {
    let name = &certificate.name;
    let key = match certificate.key.as_str() {
        "rsa-2048" => "RSA -pkeyopt rsa_keygen_bits:2048",
        "rsa-3072" => "RSA -pkeyopt rsa_keygen_bits:3072",
        "ecdsa-p256" => "EC -pkeyopt ec_paramgen_curve:P-256",
        "ecdsa-p384" => "EC -pkeyopt ec_paramgen_curve:P-384",
        "ed25519" => "ED25519",
        other => return Err(format!("certificate {name}: no key type {other:?}")),
    };
    write(&folder.join(format!("{name}.ext")), &extensions(certificate))?;
    let issuer = certificate.issuer.as_ref().unwrap_or(name);
    let signed = if issuer == name { "-selfsign".to_owned() } else { format!("-cert '{issuer}.crt'") };
    let (from, to) = (certificate.not_before_days, certificate.not_after_days);
    let md = if certificate_md(certificate, folder)? { "sha256" } else { "default" };
    let script = format!(
        "day() {{ date -u -d \"$1 days\" +%Y%m%d%H%M%SZ; }}
        openssl genpkey -algorithm {key} -out '{name}.key'
        openssl req -new -config openssl.cnf -key '{name}.key' -subj '/CN={name}' -out '{name}.csr'
        openssl ca -batch -notext -config openssl.cnf -md {md} {signed} -keyfile '{issuer}.key' -in '{name}.csr' \
            -out '{name}.crt' -extfile '{name}.ext' -startdate $(day {from}) -enddate $(day {to})"
    );
    let mut command = Command::new("sh");
    let done = run(command.args(["-ec", &script]).current_dir(folder), |_| ())?;
    if done.exit == Some(0) { Ok(()) } else { Err(format!("certificate {name}: {}", done.stderr)) }
}

/// Whether the issuer's key takes a digest (Ed25519 does not).
fn certificate_md(certificate: &Certificate, folder: &Path) -> Result<bool, String> {
    let kinds = folder.join("kinds");
    let known = fs::read_to_string(&kinds).unwrap_or_default();
    write(&kinds, &format!("{known}{} {}\n", certificate.name, certificate.key))?;
    let issuer = certificate.issuer.as_ref().unwrap_or(&certificate.name);
    let key = known.lines().find_map(|line| line.strip_prefix(issuer.as_str())?.strip_prefix(' '));
    Ok(key.unwrap_or(&certificate.key) != "ed25519")
}

fn extensions(certificate: &Certificate) -> String {
    let mut text = "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n".to_owned();
    text += if certificate.ca {
        "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n"
    } else {
        "basicConstraints = CA:FALSE\nkeyUsage = critical, digitalSignature\n"
    };
    if !certificate.usage.is_empty() {
        let _ = writeln!(text, "extendedKeyUsage = {}", certificate.usage.join(", "));
    }
    if !certificate.names.is_empty() {
        let _ = writeln!(text, "subjectAltName = {}", certificate.names.join(", "));
    }
    for line in &certificate.extensions {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}
