//! What each primitive costs: `cargo bench -p adit-crypto [WORD]`. Microseconds of processor time, of the fastest of some
//! batches, since whatever else the machine does only slows; a benchmark of whole exchanges can be held against them.
#![allow(clippy::unwrap_used, reason = "a benchmark has no callers")]

use std::hint::black_box;
use std::time::Duration;

use adit_core::Secret;
use adit_crypto::Provider;
use adit_isakmp::IkeSuite;
use adit_isakmp::algorithm::{Encryption, Integrity, KeMethod, KeyBits, Prf};
use adit_isakmp::crypto::{CryptoProvider, SkCipher};
use adit_isakmp::keys::{Exchange, IkeKeys, prf_plus, skeyseed};
use nix::time::{ClockId, clock_gettime};

/// Batches, and how long one takes, about.
const BATCHES: u32 = 20;
const BATCH: Duration = Duration::from_millis(10);

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let bench = Bench { filter };
    println!("{:<44} {:>10}", "", "µs");
    key_exchanges(&bench);
    prfs(&bench);
    messages(&bench);
}

struct Bench {
    filter: String,
}

impl Bench {
    fn run<T>(&self, name: &str, mut work: impl FnMut() -> T) {
        if !name.contains(&self.filter) {
            return;
        }
        let mut times = 1_u32;
        while time(times, &mut work) < BATCH / 4 {
            times *= 2;
        }
        let batch = (0..BATCHES).map(|_| time(4 * times, &mut work)).min().unwrap_or_default();
        let micros = batch.as_secs_f64() * 1e6 / f64::from(4 * times);
        println!("{name:<44} {micros:>10.2}");
    }
}

fn time<T>(times: u32, work: &mut impl FnMut() -> T) -> Duration {
    let begun = now();
    for _ in 0..times {
        black_box(work());
    }
    now() - begun
}

fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The initiator's part is both its calls; the responder's is one.
fn key_exchanges(bench: &Bench) {
    let provider = Provider::new();
    for method in KeMethod::ALL.iter().copied() {
        let public = provider.generate(method).unwrap().public().to_vec();
        bench.run(&format!("{method} responder"), || {
            provider.encapsulate(method, black_box(&public)).unwrap()
        });
        bench.run(&format!("{method} initiator generates"), || provider.generate(method).unwrap());
        if method.is_kem() {
            bench.run(&format!("{method} initiator, both"), || {
                let key = provider.generate(method).unwrap();
                key.agree(&vec![7; method.answer_len()]).unwrap()
            });
        } else {
            bench.run(&format!("{method} initiator, both"), || {
                provider.generate(method).unwrap().agree(black_box(&public)).unwrap()
            });
        }
    }
}

fn prfs(bench: &Bench) {
    let provider = Provider::new();
    for prf in Prf::ALL.iter().copied() {
        let mut out = vec![0; prf.output_len()];
        bench.run(&format!("{prf} of 64 bytes"), || {
            provider.prf(prf, black_box(&[1; 32]), &[&[2; 64]], &mut out);
        });
        let key = Secret::new(vec![1; prf.output_len()]);
        bench.run(&format!("{prf}+ of 256 bytes"), || {
            prf_plus(&provider, prf, &key, &[&[2; 32], &[3; 32], &[4; 16]], 256).unwrap()
        });
    }
    bench.run("sha1 of 44 bytes", || provider.sha1(&[&[1; 44]]));
    let suite = IkeSuite {
        encryption: Encryption::AesGcm16(KeyBits::B256),
        integrity: None,
        prf: Prf::HmacSha256,
        ke: KeMethod::Curve25519,
        additional: Default::default(),
    };
    let exchange =
        Exchange { initiator_nonce: &[1; 32], responder_nonce: &[2; 32], initiator_spi: 3, responder_spi: 4 };
    let shared = Secret::new(vec![5; 32]);
    bench.run("keys of an IKE_SA", || {
        let seed = skeyseed(&provider, Prf::HmacSha256, &exchange, &shared);
        IkeKeys::derive(&provider, &suite, &seed, &exchange).unwrap()
    });
}

/// A message whose SK payload holds 200 bytes, and the cipher made for it.
fn messages(bench: &Bench) {
    let sha256 = Some(Integrity::HmacSha256_128);
    for (encryption, integrity) in [
        (Encryption::AesGcm16(KeyBits::B128), None),
        (Encryption::AesGcm16(KeyBits::B192), None),
        (Encryption::AesGcm16(KeyBits::B256), None),
        (Encryption::ChaCha20Poly1305, None),
        (Encryption::AesCbc(KeyBits::B256), sha256),
        (Encryption::TripleDesCbc, sha256),
    ] {
        let make = || {
            let key = Secret::new(vec![1; encryption.key_material_len()]);
            let integrity_key = Secret::new(vec![2; integrity.map_or(0, Integrity::key_len)]);
            Provider::new().sk_cipher(encryption, integrity, key, integrity_key).unwrap()
        };
        let cipher = make();
        let (mut message, body) = message(&*cipher, encryption);
        cipher.seal(&mut message, body).unwrap();
        let name = integrity.map_or(encryption.to_string(), |i| format!("{encryption}-{i}"));
        bench.run(&format!("{name} cipher made"), make);
        bench.run(&format!("{name} seals 200 bytes"), || cipher.seal(&mut message.clone(), body).unwrap());
        bench.run(&format!("{name} opens 200 bytes"), || cipher.open(&mut message.clone(), body).unwrap());
    }
}

fn message(cipher: &dyn SkCipher, encryption: Encryption) -> (Vec<u8>, usize) {
    // The header and the SK payload's own are before it.
    let body = 32;
    let plain = 200_usize.next_multiple_of(encryption.block_len());
    (vec![0; body + cipher.iv_len() + plain + cipher.icv_len()], body)
}
