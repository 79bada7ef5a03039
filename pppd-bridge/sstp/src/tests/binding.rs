use adit_core::Secret;

use crate::binding::{CertificateHashes, HashProtocol, Hlak, prove, verify};
use crate::wire::Message;

fn octets(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(octet).collect()
}

/// The examples of [MS-SSTP] §4.7: HLAK and Call Connected.
const SHA256: (&str, &str) = (
    "2A1BB40D55AB0F5EF32F06F2B3CC73C4 8FD3FAC41D7A1315A19228D9024CA164",
    "1001007000040001 0003006800000002 412B489AEBD7ECC7D08966F26BE7CD72 B231A0E9210D7C91B308862B0344C435
     7993EF314C493DACE9F02D60E7E61C84 B6690AAFE9D7AEEA92CBBE8AD599422D
     52A68EFD8CFFBF52770B8F0FE8EC7371 6583AF6D611EB6D179B3B20840985449",
);
const SHA1: (&str, &str) = (
    "4B3128F43925D9006EEFB1C4E86515A1 D88E56BAB3CA2BDF0373B7F5A8A13B19",
    "1001007000040001 0003006800000001 0F1A2D58D4A3E3000FAD3CE4906E07B7 07AA9E441CCEAC5CBD7B2CC1C9D86CDF
     5826B629BDA59B8E6FD8DCD2622FD34C 534805A5000000000000000000000000
     69915DD583D8062FEF16F61DB2F03290 EC27CB6C000000000000000000000000",
);

#[test]
fn the_samples_of_the_specification() {
    for (hash, (hlak, packet)) in [(HashProtocol::Sha256, SHA256), (HashProtocol::Sha1, SHA1)] {
        let (hlak, packet) = (Hlak::of(&Secret::new(octets(hlak))), octets(packet));
        let Ok(Message::Connected(sample)) = Message::parse(&packet) else { panic!("no Call Connected") };
        // The certificate itself is not given, only its hash.
        let certificate = CertificateHashes::sample(sample.certificate);
        let ours = prove(&hlak, hash, sample.nonce, &certificate);
        assert_eq!(Message::Connected(ours).emit(), packet, "{hash}");
        let found = verify(&packet, &sample, &hlak, (&[hash], &sample.nonce), &certificate);
        assert_eq!(found, Ok(hash));
    }
}

#[test]
fn every_part_is_bound() {
    let certificate = CertificateHashes::of(b"certificate");
    for hash in [HashProtocol::Sha256, HashProtocol::Sha1] {
        let keys = Secret::from(&b"keys"[..]);
        let hlak = Hlak::of(&keys);
        let proof = prove(&hlak, hash, [7; 32], &certificate);
        let check = |packet: &[u8], hlak: &Hlak, offered: &[HashProtocol], nonce, certificate| {
            let Ok(Message::Connected(binding)) = Message::parse(packet) else { return false };
            verify(packet, &binding, hlak, (offered, nonce), certificate).is_ok()
        };
        let packet = Message::Connected(proof).emit();
        assert!(check(&packet, &hlak, &[hash], &[7; 32], &certificate));
        assert!(!check(&packet, &Hlak::none(), &[hash], &[7; 32], &certificate), "another authentication");
        assert!(!check(&packet, &hlak, &[], &[7; 32], &certificate), "a hash that was not offered");
        assert!(!check(&packet, &hlak, &[hash], &[8; 32], &certificate), "another connection");
        let other = CertificateHashes::of(b"another");
        assert!(!check(&packet, &hlak, &[hash], &[7; 32], &other), "another certificate");
        // Reserved octets are covered too; only the header's flags, and the type, are not ours to change here.
        for at in 9..packet.len() {
            let mut bad = packet.clone();
            bad[at] ^= 1;
            assert!(!check(&bad, &hlak, &[hash], &[7; 32], &certificate), "octet {at}");
        }
    }
}

#[test]
fn keys_are_cut_and_padded() {
    let of = |keys: &[u8]| {
        let proof =
            prove(&Hlak::of(&Secret::from(keys)), HashProtocol::Sha256, [0; 32], &CertificateHashes::of(b""));
        proof.mac
    };
    assert_eq!(of(&[5; 64]), of(&[5; 32]));
    assert_eq!(of(&[5; 16]), of(&[&[5; 16][..], &[0; 16]].concat()));
    assert_ne!(of(&[5; 16]), of(&[5; 32]));
}
