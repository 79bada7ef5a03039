//! What `case.toml` has.

use serde::Deserialize;

/// A case.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What it is about.
    #[serde(rename = "about")]
    pub(crate) _about: String,
    /// What Adit is in it.
    pub(crate) role: Role,
    /// Our proposals for the IKE_SA.
    #[serde(default = "ike")]
    pub(crate) ike: Vec<String>,
    /// Our proposals for CHILD_SAs.
    #[serde(default = "esp")]
    pub(crate) esp: Vec<String>,
    /// As initiator: which addresses to ask for.
    #[serde(default = "request")]
    pub(crate) request: Vec<String>,
    /// As responder: whether peers get addresses.
    #[serde(default = "yes")]
    pub(crate) addresses: bool,
    /// Traffic selectors of our side, and of the peer's.
    #[serde(default = "everything")]
    pub(crate) local_ts: Vec<String>,
    #[serde(default = "everything")]
    pub(crate) remote_ts: Vec<String>,
    /// As initiator: encapsulation without a NAT.
    #[serde(default)]
    pub(crate) force_encapsulation: bool,
    /// "required" or "optional": the postquantum preshared key `staff`; else there is none.
    #[serde(default)]
    pub(crate) ppk: String,
    /// As responder: from how many half-open IKE_SAs on a cookie is asked for.
    #[serde(default = "ten")]
    pub(crate) cookie_threshold: usize,
    /// The name of an Ask that is answered with no.
    #[serde(default)]
    pub(crate) refuse: String,
    /// What happens.
    #[serde(default)]
    pub(crate) step: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// One thing that happens: exactly one of `send`, `hex`, `again`, `act` and `wake`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Step {
    /// The peer sends a message of this exchange type: a name or a number.
    pub(crate) send: Option<String>,
    /// It is a response.
    pub(crate) response: bool,
    /// Its Message ID; else the one that follows.
    pub(crate) id: Option<u32>,
    /// It is not protected, even where there are keys.
    pub(crate) clear: bool,
    /// It comes in fragments, for IP packets of so many bytes.
    pub(crate) fragment: Option<usize>,
    /// Its payloads (words.rs).
    pub(crate) payloads: Vec<String>,
    /// Bytes of the datagram that are other than they should be: place and value.
    pub(crate) bytes: Vec<(usize, u8)>,
    /// How much of the datagram arrives.
    pub(crate) cut: Option<usize>,
    /// Where it comes from.
    pub(crate) from: Option<String>,
    /// The port of ours that it comes to.
    pub(crate) to_port: Option<u16>,
    /// The peer sends these bytes.
    pub(crate) hex: Option<String>,
    /// The peer sends the last datagram but so many again.
    pub(crate) again: Option<usize>,
    /// Our person acts: `dial`, `close`, `close-child`, `rekey-ike`, `rekey-child`.
    pub(crate) act: Option<String>,
    /// So many of our deadlines come.
    pub(crate) wake: Option<usize>,
}

fn ike() -> Vec<String> {
    vec!["aes256gcm16-prfsha256-x25519".into()]
}

fn esp() -> Vec<String> {
    vec!["aes256gcm16".into()]
}

fn request() -> Vec<String> {
    vec!["v4".into()]
}

const fn yes() -> bool {
    true
}

fn everything() -> Vec<String> {
    vec!["0.0.0.0/0".into(), "::/0".into()]
}

const fn ten() -> usize {
    10
}
