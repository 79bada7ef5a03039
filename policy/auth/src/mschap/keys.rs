//! The keys that both sides have after MS-CHAPv2 (RFC 3079 §3), and the MSK that EAP makes of them.

use adit_core::Secret;
use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::NtHash;

const PAD1: [u8; 40] = [0; 40];
const PAD2: [u8; 40] = [0xf2; 40];
const CLIENT_SENDS: &[u8] =
    b"On the client side, this is the send key; on the server side, it is the receive key.";
const SERVER_SENDS: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";

/// Which end of the exchange we are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The one that proves itself first: the client.
    Peer,
    /// The one that asks: the server.
    Authenticator,
}

/// MasterReceiveKey and MasterSendKey as the two ends name them from their own side: 16 bytes each of MS-CHAP, 32 of an EAP
/// method's MSK. MPPE uses the first 16.
pub struct MasterKeys {
    client_sends: Secret,
    server_sends: Secret,
}

impl MasterKeys {
    /// RFC 3079 §3.4 GetMasterKey, and GetAsymmetricStartKey for both directions with 16 bytes.
    #[must_use]
    pub fn derive(hash: &NtHash, nt_response: &[u8; 24]) -> Self {
        let mut sha = Sha1::new();
        sha.update(*hash.of_hash());
        sha.update(nt_response);
        sha.update(b"This is the MPPE Master Key");
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(sha.finalize().into());
        let master = digest.get(..16).unwrap_or_default();
        Self { client_sends: start_key(master, CLIENT_SENDS), server_sends: start_key(master, SERVER_SENDS) }
    }

    /// MS-CHAPv1's start key for 128 bits (RFC 3079 §2.3, §2.4): one for both directions. The one for 40 bits comes of a
    /// LAN Manager hash, which is not kept here.
    #[must_use]
    pub fn derive_v1(hash: &NtHash, challenge: [u8; 8]) -> Self {
        let hash = hash.of_hash();
        let mut sha = Sha1::new();
        sha.update(*hash);
        sha.update(*hash);
        sha.update(challenge);
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(sha.finalize().into());
        let key = digest.get(..16).unwrap_or_default();
        Self { client_sends: Secret::from(key), server_sends: Secret::from(key) }
    }

    /// The keys that a PPP link makes of an EAP method's MSK: MS-MPPE-Recv-Key and MS-MPPE-Send-Key as the authenticator
    /// names them, 32 octets each, of which MPPE uses the first 16 (RFC 2548 §2.4, RFC 5216 §2.3).
    #[must_use]
    pub fn of_msk(msk: &Secret) -> Option<Self> {
        // EAP-MSCHAPv2's are 16 octets each, side by side, and 32 zeros ([MS-CHAP] §3.1.5.1).
        let short = msk.expose().get(32..).is_some_and(|rest| rest.iter().all(|b| *b == 0));
        let length = if short { 16 } else { 32 };
        let (first, rest) = msk.expose().split_at_checked(length)?;
        let second = rest.get(..length)?;
        Some(Self { client_sends: Secret::from(first), server_sends: Secret::from(second) })
    }

    /// Keys that somebody else has derived (a RADIUS server's MS-MPPE-Send-Key and MS-MPPE-Recv-Key, which are named
    /// from the authenticator's side, RFC 2548 §2.4). `None`: they are shorter than 16 octets.
    #[must_use]
    pub fn of_authenticator(send: Secret, receive: Secret) -> Option<Self> {
        let long_enough = send.len() >= 16 && receive.len() >= 16;
        long_enough.then_some(Self { client_sends: receive, server_sends: send })
    }

    /// Both, one behind the other, the client's first: what a carrier binds itself to ([MS-SSTP] §3.2.5.2.2).
    #[must_use]
    pub fn both(&self) -> Secret {
        let both = Zeroizing::new([self.client_sends.expose(), self.server_sends.expose()].concat());
        Secret::from(&both[..])
    }

    /// The MSK of EAP-MSCHAPv2, 64 bytes: MasterReceiveKey and MasterSendKey as the authenticator names them, then 32
    /// zero bytes ([MS-CHAP] §3.1.5.1).
    #[must_use]
    pub fn msk(&self) -> Secret {
        let mut out = Zeroizing::new(Vec::with_capacity(64));
        out.extend_from_slice(self.client_sends.expose());
        out.extend_from_slice(self.server_sends.expose());
        out.resize(64, 0);
        Secret::from(&out[..])
    }

    /// The key that `role` sends with, before any packet: MPPE's initial session key (RFC 3079 §3.3).
    #[must_use]
    pub fn send(&self, role: Role, strength: MppeStrength) -> MppeKey {
        MppeKey::first(self.start(role), strength)
    }

    /// The key that `role` receives with.
    #[must_use]
    pub fn receive(&self, role: Role, strength: MppeStrength) -> MppeKey {
        let other = if role == Role::Peer { Role::Authenticator } else { Role::Peer };
        MppeKey::first(self.start(other), strength)
    }

    const fn start(&self, sender: Role) -> &Secret {
        match sender {
            Role::Peer => &self.client_sends,
            Role::Authenticator => &self.server_sends,
        }
    }
}

/// Strength of MPPE. 56 bits exist on the wire, and in no kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MppeStrength {
    /// 40 secret bits of 64.
    Bits40,
    /// 128 bits.
    Bits128,
}

/// An initial MPPE key, ready for the kernel.
pub struct MppeKey {
    /// What the kernel is given: 8 bytes of a start key for 40 bits, 16 for 128. It derives the session key itself.
    pub start: Secret,
    /// The initial session key (RFC 3078 §7.1, §7.2), as the first packet is encrypted with.
    pub session: Secret,
}

impl MppeKey {
    fn first(start: &Secret, strength: MppeStrength) -> Self {
        let length = if strength == MppeStrength::Bits128 { 16 } else { 8 };
        let key = start.expose().get(..length).unwrap_or_default();
        let mut sha = Sha1::new();
        sha.update(key);
        sha.update(PAD1);
        sha.update(key);
        sha.update(PAD2);
        // The first session key is the start key hashed with itself (RFC 3079 §3.3, GetNewKeyFromSHA).
        let digest: Zeroizing<[u8; 20]> = Zeroizing::new(sha.finalize().into());
        let mut session = Zeroizing::new(digest.get(..length).unwrap_or_default().to_vec());
        if strength == MppeStrength::Bits40 {
            for (to, from) in session.iter_mut().zip([0xd1, 0x26, 0x9e]) {
                *to = from;
            }
        }
        Self { start: Secret::from(key), session: Secret::from(&session[..]) }
    }
}

fn start_key(master: &[u8], magic: &[u8]) -> Secret {
    let mut sha = Sha1::new();
    sha.update(master);
    sha.update(PAD1);
    sha.update(magic);
    sha.update(PAD2);
    let digest: Zeroizing<[u8; 20]> = Zeroizing::new(sha.finalize().into());
    Secret::from(digest.get(..16).unwrap_or_default())
}
