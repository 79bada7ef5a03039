use adit_core::{Entropy, Secret};

use super::*;

const AUTHENTICATOR: Challenge =
    [0x5b, 0x5d, 0x7c, 0x7d, 0x7b, 0x3f, 0x2f, 0x3e, 0x3c, 0x2c, 0x60, 0x21, 0x32, 0x26, 0x26, 0x28];
const PEER: Challenge =
    [0x21, 0x40, 0x23, 0x24, 0x25, 0x5e, 0x26, 0x2a, 0x28, 0x29, 0x5f, 0x2b, 0x3a, 0x33, 0x7c, 0x7e];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|d| u8::from_str_radix(core::str::from_utf8(d).unwrap(), 16).unwrap()).collect()
}

fn hash(password: &str) -> NtHash {
    NtHash::of(&Secret::from(password.as_bytes())).unwrap()
}

fn exchange(user: &str) -> Exchange<'_> {
    Exchange { authenticator: &AUTHENTICATOR, peer: &PEER, user }
}

/// RFC 2759 §9.2.
#[test]
fn the_sample_exchange_of_rfc_2759() {
    let hash = hash("clientPass");
    assert_eq!(hash.expose()[..], hex("44EBBA8D5312B8D611474411F56989AE"));
    assert_eq!(hash.of_hash()[..], hex("41C00C584BD2D91C4017A2A12FA59F3F"));
    assert_eq!(exchange("User").challenge_hash()[..], hex("D02E4386BCE91226"));
    let response = nt_response(&hash, exchange("User"));
    assert_eq!(response[..], hex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF"));
    assert_eq!(
        authenticator_response(&hash, exchange("User"), &response),
        "S=407A5589115FD0D6209F510FE9C04566932CDA56"
    );
}

/// RFC 2759 §9.3: the same without the parity bits that others set.
#[test]
fn des_keys_as_rfc_2759_spreads_them() {
    let mut block: [u8; 8] = hex("D02E4386BCE91226").try_into().unwrap();
    des_encrypt(&hex("44EBBA8D5312B8"), &mut block);
    assert_eq!(block[..], hex("82309ECD8D708B5E"));
}

#[test]
fn only_the_right_password_proves_anything() {
    let right = hash("clientPass");
    let response = nt_response(&right, exchange("User"));
    assert!(verify(&right, exchange("User"), &response));
    assert!(!verify(&hash("clientpass"), exchange("User"), &response));
    assert!(!verify(&right, exchange("user"), &response));
    let proof = authenticator_response(&right, exchange("User"), &response);
    let text = format!("{proof} M=Welcome");
    assert!(verify_authenticator(&right, exchange("User"), &response, text.as_bytes()));
    assert!(verify_authenticator(
        &right,
        exchange("User"),
        &response,
        proof.to_lowercase().replace("s=", "S=").as_bytes()
    ));
    assert!(!verify_authenticator(&hash("other"), exchange("User"), &response, text.as_bytes()));
    assert!(!verify_authenticator(&right, exchange("User"), &response, &text.as_bytes()[..41]));
}

#[test]
fn the_domain_does_not_count() {
    let hash = hash("clientPass");
    assert_eq!(nt_response(&hash, exchange(r"CORP\User")), nt_response(&hash, exchange("User")));
    assert_ne!(nt_response(&hash, exchange("User@corp.example")), nt_response(&hash, exchange("User")));
}

/// RFC 3079 §3.5.3: 128 bits. The sample's SendStartKey is the server's.
#[test]
fn the_sample_keys_of_rfc_3079_128() {
    let hash = hash("clientPass");
    let response = nt_response(&hash, exchange("User"));
    let keys = MasterKeys::derive(&hash, &response);
    let send = keys.send(Role::Authenticator, MppeStrength::Bits128);
    assert_eq!(send.start.expose(), hex("8B7CDC149B993A1BA118CB153F56DCCB"));
    assert_eq!(send.session.expose(), hex("405CB2247A7956E6E211007AE27B22D4"));
    let received = keys.receive(Role::Peer, MppeStrength::Bits128);
    assert!(received.session.equals(send.session.expose()));
}

/// RFC 3079 §3.5.1: 40 bits.
#[test]
fn the_sample_keys_of_rfc_3079_40() {
    let hash = hash("clientPass");
    let response = nt_response(&hash, exchange("User"));
    let send = MasterKeys::derive(&hash, &response).send(Role::Authenticator, MppeStrength::Bits40);
    assert_eq!(send.start.expose(), hex("8B7CDC149B993A1B"));
    assert_eq!(send.session.expose(), hex("D1269EC49FA62E3E"));
}

/// RFC 2433 §B.2 (its other sample is of the LAN Manager hash, which is not kept here).
#[test]
fn the_sample_response_of_rfc_2433() {
    let challenge = hex("102DB5DF085D3041").try_into().unwrap();
    let response = v1_response(&hash("MyPw"), challenge);
    assert_eq!(response[..], hex("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61"));
}

/// RFC 3079 §2.5.3: 128 bits, by MS-CHAPv1; one key for both directions. (Its step 3 has "ac ca" where step 4, and the session
/// key that follows from it, have "ac c1".)
#[test]
fn the_sample_keys_of_rfc_3079_v1() {
    let challenge = hex("102DB5DF085D3041").try_into().unwrap();
    let keys = MasterKeys::derive_v1(&hash("clientPass"), challenge);
    for key in
        [keys.send(Role::Peer, MppeStrength::Bits128), keys.send(Role::Authenticator, MppeStrength::Bits128)]
    {
        assert_eq!(key.start.expose(), hex("A8947850CFC0ACC1D1789FB62DDCDDB0"));
        assert_eq!(key.session.expose(), hex("59D159BC09F76F1DA2A86A28FFEC0B1E"));
    }
}

#[test]
fn the_msk_names_keys_from_the_authenticators_side() {
    let hash = hash("clientPass");
    let keys = MasterKeys::derive(&hash, &nt_response(&hash, exchange("User")));
    let msk = keys.msk();
    assert_eq!(msk.len(), 64);
    assert_eq!(msk.expose()[16..32], hex("8B7CDC149B993A1BA118CB153F56DCCB"));
    assert_eq!(msk.expose()[32..], [0; 32]);
}

/// A key that is too short would be one that everybody knows.
#[test]
fn keys_of_a_radius_server_are_whole_or_none() {
    let hash = hash("clientPass");
    let derived = MasterKeys::derive(&hash, &nt_response(&hash, exchange("User")));
    let [send, receive] = [
        derived.send(Role::Authenticator, MppeStrength::Bits128),
        derived.receive(Role::Authenticator, MppeStrength::Bits128),
    ]
    .map(|k| k.start);
    let given = MasterKeys::of_authenticator(send.duplicate(), receive.duplicate()).unwrap();
    let session = given.send(Role::Authenticator, MppeStrength::Bits128).session;
    assert_eq!(session.expose(), hex("405CB2247A7956E6E211007AE27B22D4"));
    assert!(MasterKeys::of_authenticator(Secret::from(&[1; 15][..]), receive).is_none());
    assert!(MasterKeys::of_authenticator(send, Secret::from(&[][..])).is_none());
}

struct Counting(u8);

impl Entropy for Counting {
    fn public(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }

    fn secret(&mut self, out: &mut [u8]) {
        self.public(out);
    }
}

#[test]
fn a_new_password_reaches_only_who_knows_the_old_one() {
    let old = hash("MyPw");
    let new = Secret::from("neues Paßwort".as_bytes());
    let change = PasswordChange::encrypt(&old, &new, &mut Counting(0)).unwrap();
    assert!(change.decrypt(&old).unwrap().equals(new.expose()));
    assert_eq!(change.decrypt(&hash("other")).err(), Some(ChangeError::Unreadable));
    let long = Secret::new(vec![b'x'; 257]);
    assert_eq!(PasswordChange::encrypt(&old, &long, &mut Counting(0)).err(), Some(ChangeError::TooLong));
}
