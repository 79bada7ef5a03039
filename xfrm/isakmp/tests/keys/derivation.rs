//! Key derivation against NIST's published values and against an independent computation.
//!
//! NIST: `nist-ikev2.txt`; here some numbers of its SHA-1 case. SHA-2: computed with Python's `hmac` and `hashlib` from
//! the formulas of RFC 7296; not published anywhere.

use adit_core::Secret;
use adit_isakmp::crypto::CryptoProvider;
use adit_isakmp::keys::{
    ChildKeys, Exchange, IkeKeys, nat_detection_hash, prf_plus, psk_auth, resume_auth, signed_octets,
    skeyseed, skeyseed_rekey, skeyseed_resume,
};
use adit_isakmp::{Encryption, EspSuite, IkeSuite, Integrity, KeMethod, Prf};

use crate::hex;
use crate::provider::Provider;

const NI: &str = "3651fef5c9c35e93";
const NR: &str = "c09a8b90a3f04d59";
const G_IR_NEW: &str = "52f00ab174c25d5b7139ae5ff4e8e9eddee5992d2e36adf8a559ffd90dab1442e4fbe429d320c0f33552a17d1557\
    fa41ea70e8fb916c4fa27ed52b5f8ebd8461afa78f1159159a64055ac5f6319e29c28eae58cbc6847770f32c3fed1d04750484f854790f95e9\
    ec01bc5bc461f24966462e359511329305038e94deb6dd42c2";
const DKM: &str = "6f1b12cad3cbe097b35430356d869d54cddb0198ec859174d53ceb92dddedbe2436db69f60977c58fa63bbb667f8d36920b1\
    09baae8f6c61a9ac49feda01843225d080ec5539d5881a25521ffb2a0a91874a9c0a27fcc2d717eb8963a9e3a89c7ab264757284c28cf8c3ca\
    40576f4220b052b1fb8e9ad60ba3c80557323331a8cbb89f20";
const DKM_CHILD_DH: &str = "b109c21ad4c0797768c1cec9e63554681e48f224bca7f23c20c4ea7041983451e9aa1d5408656c8a975ff1b9d9\
    a12c75ffeb64bdecb30174664cccb4e14f1c377b7f6d1525af77c7092aac3e47f917ebae8297fb5539d2008ce830823a09cc197361d4a289c7\
    2745f6ce9fefe812be5bf55b3200fbb82e41a4a40877d3fe106db909707b";

// What NIST has of every PRF, SKEYSEED of a rekeyed IKE_SA included.
#[test]
fn nist_values_are_met() {
    crate::nist::check(&Provider);
}

// [7296:2.17-1] [7296:2.17-2]
#[test]
fn child_keys_are_cut_in_order() {
    // RFC 7296 §2.17: initiator's before responder's, encryption before integrity.
    let (ni, nr) = (hex(NI), hex(NR));
    let sk_d = Secret::new(hex(DKM)[..20].to_vec());
    let suite = EspSuite {
        encryption: Encryption::AesCbc(adit_isakmp::algorithm::KeyBits::B256),
        integrity: Some(Integrity::HmacSha256_128),
        ke: Some(KeMethod::Modp2048),
        additional: Default::default(),
        esn: false,
    };
    let shared = [Secret::new(hex(G_IR_NEW))];
    let keys = ChildKeys::derive(&Provider, Prf::HmacSha1, &sk_d, &suite, (&ni, &nr), &shared).unwrap();
    let order = [
        &keys.initiator.encryption,
        &keys.initiator.integrity,
        &keys.responder.encryption,
        &keys.responder.integrity,
    ];
    assert_eq!(order.map(Secret::expose).concat(), hex(DKM_CHILD_DH)[..128]);
    assert!(order.iter().all(|key| key.len() == 32));
}

struct Fixture {
    ni: Vec<u8>,
    nr: Vec<u8>,
    shared: Secret,
}

impl Fixture {
    fn new() -> Self {
        Self { ni: (0..32).collect(), nr: (100..132).collect(), shared: Secret::new((200..232).collect()) }
    }

    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            initiator_nonce: &self.ni,
            responder_nonce: &self.nr,
            initiator_spi: SPI_I,
            responder_spi: SPI_R,
        }
    }

    fn derive(&self, suite: &IkeSuite) -> (Secret, IkeKeys) {
        let seed = skeyseed(&Provider, suite.prf, &self.exchange(), &self.shared);
        let keys = IkeKeys::derive(&Provider, suite, &seed, &self.exchange()).unwrap();
        (seed, keys)
    }
}

const SPI_I: u64 = 0x1122_3344_5566_7788;
const SPI_R: u64 = 0x99aa_bbcc_ddee_ff00;

fn suite(text: &str) -> IkeSuite {
    let proposal: adit_isakmp::proposal::IkeProposal = text.parse().unwrap();
    IkeSuite {
        encryption: proposal.encryption[0],
        integrity: proposal.integrity.first().copied(),
        prf: proposal.prf[0],
        ke: proposal.ke[0],
        additional: Default::default(),
    }
}

// [7296:2.13-3] [7296:2.14-1]
#[test]
fn sha2_256_with_cbc() {
    let (seed, keys) = Fixture::new().derive(&suite("aes256-sha256-x25519"));
    assert_eq!(seed.expose(), hex("0642178a253adbf95c26d6010a8a2fe2b33a8ec615edadcb4cde2358915864c4"));
    assert_eq!(keys.d.expose(), hex("689e34a8a9b36575493c9f332e164e300b583a29b05b202a0db3cada961e84ee"));
    assert_eq!(keys.ai.expose(), hex("cad62cdb5629258c2a1ec810957bd81cb9f45fae16592fac3ee2d7e9f700215f"));
    assert_eq!(keys.ar.expose(), hex("25b2e9afff03d8495d8986ba1a8d85630a51f3a22c6fb6dfd7d13c2a391622d0"));
    assert_eq!(keys.ei.expose(), hex("2e20441b768b7e05470d4f32271fc153902726975cfad9ba05d365d61d594c18"));
    assert_eq!(keys.er.expose(), hex("27bb55ff42a7aa67862e35c6e12cf8acc967964676ed7181c60b2756d890569e"));
    assert_eq!(keys.pi.expose(), hex("01f87e0f43e911082ecd701a7debbeb47c21d593dd62e463ddca0d85a55e7451"));
    assert_eq!(keys.pr.expose(), hex("7f1e9d48209a707aa242d892d17d033789fe3f85a554f8aea10f2d9afb97250b"));
}

#[test]
fn sha2_384_with_an_aead() {
    let fixture = Fixture::new();
    let (_, keys) = fixture.derive(&suite("aes128gcm16-prfsha384-x25519"));
    assert!(keys.ai.is_empty() && keys.ar.is_empty());
    assert_eq!(keys.ei.expose(), hex("51f02fe237674ea73b0545b5657d6cc3ea05d8f4"));
    assert_eq!(keys.er.expose(), hex("0d5fe4f6bad9118548350226086d0c7ece6f23b3"));
    let esp = EspSuite {
        encryption: suite("aes128gcm16-prfsha384-x25519").encryption,
        integrity: None,
        ke: None,
        additional: Default::default(),
        esn: true,
    };
    let nonces = (&fixture.ni[..], &fixture.nr[..]);
    let child = ChildKeys::derive(&Provider, Prf::HmacSha384, &keys.d, &esp, nonces, &[]).unwrap();
    assert_eq!(child.initiator.encryption.expose(), hex("abc1b042d8adeb5c38de887e6e621d9afb9b2662"));
    assert_eq!(child.responder.encryption.expose(), hex("51f41abeb730301596664e750b58aef5739b4e83"));
    assert!(child.initiator.integrity.is_empty() && child.responder.integrity.is_empty());
}

// [7296:2.13-3] [7296:2.14-1]
#[test]
fn sha2_512_with_an_aead() {
    let (_, keys) = Fixture::new().derive(&suite("aes256gcm16-prfsha512-x25519"));
    assert_eq!(
        keys.ei.expose(),
        hex("f5b644c10c8d7c3f7008a7b5e570cb794e3b9eac498a06f9abf1e82cb86458a90f6afc67")
    );
    assert_eq!(
        keys.pr.expose(),
        hex(
            "047e360cb16743bd2c9529cfb21754fa374578138f1bcf9b5b800ef91e5bd3941249e7f97dc7d4e0bd27913d826614d35bcc517e\
             019ec9c3b5e787bc54a95355"
        )
    );
}

#[test]
fn auth_of_a_shared_key() {
    let fixture = Fixture::new();
    let (_, keys) = fixture.derive(&suite("aes256-sha256-x25519"));
    let id = adit_isakmp::payload::Identification {
        id_type: 2,
        reserved: [0; 3],
        data: b"client.example".to_vec(),
    };
    let octets =
        signed_octets(&Provider, Prf::HmacSha256, b"the first message", &fixture.nr, &keys.pi, &id.body());
    let (front, maced_id) = octets.expose().split_at(17 + 32);
    assert_eq!(front, [&b"the first message"[..], &fixture.nr].concat());
    assert_eq!(maced_id, hex("1e1abecc0c937ef10aed86ae3bdab05c41905a845b60b6935f1f27d48969acc5"));
    let auth = psk_auth(&Provider, Prf::HmacSha256, &Secret::from(&b"a shared key"[..]), &octets);
    assert_eq!(auth.expose(), hex("b3660deaa5478a7cb8f6cb7200f15b8d7b42c8e33a7f9741831fdcac412e5cbd"));
}

#[test]
fn nat_detection() {
    let hash = |address: &str| nat_detection_hash(&Provider, SPI_I, SPI_R, address.parse().unwrap()).to_vec();
    assert_eq!(hash("192.0.2.1:500"), hex("c31e70110fc425fd1cdd03aa08eef6ef77e1d848"));
    assert_eq!(hash("[2001:db8::1]:4500"), hex("140f95d36ae0c893c11f39d9eb6bb012d7d333fb"));
    assert_eq!(hash("[::ffff:192.0.2.1]:500"), hash("192.0.2.1:500"));
}

#[test]
fn prf_plus_ends_after_255_blocks() {
    let key = Secret::from(&[1; 32][..]);
    let length = |n| prf_plus(&Provider, Prf::HmacSha256, &key, &[b"seed"], n).map(|s| s.len());
    assert_eq!((length(0), length(33), length(255 * 32)), (Ok(0), Ok(33), Ok(255 * 32)));
    assert!(length(255 * 32 + 1).is_err());
}

// [9370:2.2.4-4]
#[test]
fn the_secrets_of_additional_key_exchanges_follow_the_nonces() {
    let (ni, nr, sk_d) = (hex(NI), hex(NR), Secret::from(&[3; 32][..]));
    let exchange =
        Exchange { initiator_nonce: &ni, responder_nonce: &nr, initiator_spi: 1, responder_spi: 2 };
    let shared = [[4; 32], [5; 32], [6; 32]].map(|secret| Secret::from(&secret[..]));
    let prf = Prf::HmacSha256;
    let whole = [&[4; 32][..], &ni, &nr, &[5; 32], &[6; 32]].concat();
    let mut expected = [0; 32];
    Provider.prf(prf, sk_d.expose(), &[&whole], &mut expected);
    assert_eq!(skeyseed_rekey(&Provider, prf, &sk_d, &exchange, &shared).expose(), expected);
    let suite = EspSuite {
        encryption: Encryption::AesCbc(adit_isakmp::algorithm::KeyBits::B256),
        integrity: Some(Integrity::HmacSha256_128),
        ke: Some(KeMethod::Curve25519),
        additional: Default::default(),
        esn: false,
    };
    let keys = ChildKeys::derive(&Provider, prf, &sk_d, &suite, (&ni, &nr), &shared).unwrap();
    let expected = prf_plus(&Provider, prf, &sk_d, &[&whole], 128).unwrap();
    assert_eq!(keys.initiator.encryption.expose(), &expected.expose()[..32]);
    assert_eq!(keys.responder.integrity.expose(), &expected.expose()[96..]);
}

// [5723:5.1-1] [5723:5.1-2] [5723:5.1-3]
#[test]
fn a_session_is_resumed_from_the_old_sk_d_and_a_word() {
    let (sk_d, ni, nr) = (Secret::from(&[1; 32][..]), [2; 32], [3; 32]);
    let exchange =
        Exchange { initiator_nonce: &ni, responder_nonce: &nr, initiator_spi: 1, responder_spi: 2 };
    let prf = Prf::HmacSha256;
    let whole = [&b"Resumption"[..], &ni, &nr].concat();
    let mut expected = [0; 32];
    Provider.prf(prf, sk_d.expose(), &[&whole], &mut expected);
    assert_eq!(skeyseed_resume(&Provider, prf, &sk_d, &exchange).expose(), expected);
    let octets = Secret::from(&b"octets"[..]);
    Provider.prf(prf, sk_d.expose(), &[b"octets"], &mut expected);
    assert_eq!(resume_auth(&Provider, prf, &sk_d, &octets).expose(), expected);
}
