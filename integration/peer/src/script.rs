//! What a peer's file may say.

use std::{fs, net::IpAddr, path::Path};

use serde::Deserialize;

/// One peer, as its messages show it. Paths are absolute.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Script {
    /// Where to dial, on port 500.
    pub(crate) server: IpAddr,
    /// IKE_SA proposals, each with its transforms in the order of the words: `aes256-sha1-prfsha1-modp1024`.
    pub(crate) ike: Vec<String>,
    /// CHILD_SA proposals, likewise.
    pub(crate) esp: Vec<String>,
    /// Method of the first KE payload; the first one of `ike` where absent.
    pub(crate) ke: Option<String>,
    /// Whether INVALID_KE_PAYLOAD is followed.
    #[serde(default = "yes")]
    pub(crate) follows_invalid_ke: bool,
    /// Vendor IDs of IKE_SA_INIT, hexadecimal.
    #[serde(default)]
    pub(crate) vendor_ids: Vec<String>,
    /// Status notifies of IKE_SA_INIT beside NAT detection, by number; those with data as `NUMBER:HEX`.
    #[serde(default)]
    pub(crate) init_notifies: Vec<String>,
    /// Status notifies of IKE_AUTH.
    #[serde(default)]
    pub(crate) auth_notifies: Vec<String>,
    /// IDi: an address, a name, `user@domain`, `address` (our own), or `subject` (the certificate's).
    pub(crate) local_id: String,
    /// IDr of the request; none is sent where absent.
    pub(crate) sends_id: Option<String>,
    /// Who the answer must name.
    pub(crate) remote_id: String,
    /// File with the PSK.
    pub(crate) psk_file: Option<String>,
    /// Our certificate, PEM.
    pub(crate) certificate: Option<String>,
    /// Its key, PEM.
    pub(crate) key: Option<String>,
    /// The authority of the server's certificate, PEM.
    pub(crate) ca: Option<String>,
    /// Whether CERTREQ is sent.
    #[serde(default = "yes")]
    pub(crate) asks_for_certificates: bool,
    /// Hashes of authorities in CERTREQ that nobody else knows, beside the real one's.
    #[serde(default)]
    pub(crate) foreign_authorities: usize,
    /// Configuration attributes to ask for, by number.
    #[serde(default)]
    pub(crate) request: Vec<u16>,
    /// Whether TSi and TSr have IPv4 and IPv6 (else IPv4 alone).
    #[serde(default)]
    pub(crate) ipv6: bool,
    /// Whether the SAs are put into the kernel (with `ip`), the address on `lo`, and a policy for everything.
    #[serde(default)]
    pub(crate) install: bool,
    /// Whether the server is asked by DHCPINFORM then, from each IPv4 address.
    #[serde(default)]
    pub(crate) dhcp_inform: bool,
    /// CHILD_SA proposals of a rekey that is done once the tunnel is up; none where absent.
    pub(crate) rekey_child: Option<Vec<String>>,
    /// IKE_SA proposals of a rekey of the IKE_SA that is done then, the first method being the KE payload's.
    pub(crate) rekey_ike: Option<Vec<String>>,
    /// The notify that the other end's CREATE_CHILD_SA is refused with: NO_ADDITIONAL_SAS where absent.
    #[serde(default = "no_additional_sas")]
    pub(crate) refuses_rekeys_with: String,
}

fn no_additional_sas() -> String {
    "35".to_owned()
}

fn yes() -> bool {
    true
}

impl Script {
    /// Reads it.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let at = |why: String| format!("{}: {why}", file.display());
        let text = fs::read_to_string(file).map_err(|e| at(e.to_string()))?;
        toml::from_str(&text).map_err(|e| at(e.to_string()))
    }
}
