//! NIST's values for the key derivation of IKEv2, of every PRF, with any provider.

use adit_core::Secret;
use adit_isakmp::algorithm::KeyBits;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::keys::{ChildKeys, Exchange, IkeKeys, prf_plus, skeyseed, skeyseed_rekey};
use adit_isakmp::{Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};

const CASES: &str = include_str!("nist-ikev2.txt");

/// The keys of IKE_SAs and CHILD_SAs are what NIST has, for each of its cases.
pub(crate) fn check(crypto: &dyn CryptoProvider) {
    let mut seen = Vec::new();
    let mut case: Vec<(&str, &str)> = Vec::new();
    let lines = CASES.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    for line in lines.chain(["prf end"]) {
        let (name, value) = line.split_once(' ').unwrap();
        if name == "prf" && !case.is_empty() {
            seen.push(check_case(crypto, &case));
            case.clear();
        }
        case.push((name, value));
    }
    assert_eq!(seen, [Prf::HmacSha1, Prf::HmacSha256, Prf::HmacSha384, Prf::HmacSha512]);
}

fn check_case(crypto: &dyn CryptoProvider, case: &[(&str, &str)]) -> Prf {
    let text = |name: &str| case.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
    let value = |name: &str| text(name).map(hex);
    let spi = |name: &str| u64::from_str_radix(text(name).unwrap(), 16).unwrap();
    let prf = Prf::ALL.iter().copied().find(|p| Some(p.keyword()) == text("prf")).unwrap();
    let (ni, nr) = (value("ni").unwrap(), value("nr").unwrap());
    let exchange = Exchange {
        initiator_nonce: &ni,
        responder_nonce: &nr,
        initiator_spi: spi("spii"),
        responder_spi: spi("spir"),
    };
    let shared = Secret::new(value("gir").unwrap());
    let shared_new = Secret::new(value("girnew").unwrap());

    let seed = skeyseed(crypto, prf, &exchange, &shared);
    assert_eq!(seed.expose(), value("skeyseed").unwrap(), "{prf}");

    let dkm = value("dkm").unwrap();
    let spis = [exchange.initiator_spi.to_be_bytes(), exchange.responder_spi.to_be_bytes()].concat();
    let whole = prf_plus(crypto, prf, &seed, &[&ni, &nr, &spis], dkm.len()).unwrap();
    assert_eq!(whole.expose(), dkm, "{prf}");
    let keys = IkeKeys::derive(crypto, &suite(prf), &seed, &exchange).unwrap();
    let cut = [&keys.d, &keys.ai, &keys.ar, &keys.ei, &keys.er, &keys.pi, &keys.pr].map(Secret::expose);
    let common = dkm.len().min(cut.concat().len());
    assert_eq!(cut.concat()[..common], dkm[..common], "{prf}");

    for (name, shared) in [("child", &[][..]), ("childdh", core::slice::from_ref(&shared_new))] {
        let Some(expected) = value(name) else { continue };
        let keys = ChildKeys::derive(crypto, prf, &keys.d, &esp(), (&ni, &nr), shared).unwrap();
        let cut = [
            keys.initiator.encryption,
            keys.initiator.integrity,
            keys.responder.encryption,
            keys.responder.integrity,
        ];
        assert_eq!(cut.each_ref().map(Secret::expose).concat(), expected[..128], "{prf} {name}");
    }
    let rekeyed = skeyseed_rekey(crypto, prf, &keys.d, &exchange, core::slice::from_ref(&shared_new));
    assert_eq!(rekeyed.expose(), value("rekey").unwrap(), "{prf}");
    prf
}

fn suite(prf: Prf) -> IkeSuite {
    let encryption = Encryption::AesCbc(KeyBits::B128);
    IkeSuite {
        encryption,
        integrity: Some(Integrity::HmacSha1_96),
        prf,
        ke: KeMethod::Modp2048,
        additional: Default::default(),
    }
}

fn esp() -> EspSuite {
    let encryption = Encryption::AesCbc(KeyBits::B256);
    EspSuite {
        encryption,
        integrity: Some(Integrity::HmacSha256_128),
        ke: None,
        additional: Default::default(),
        esn: false,
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(text.get(at..at + 2).unwrap(), 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}
