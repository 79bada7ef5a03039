//! What one IKE_SA with its first CHILD_SA costs in cryptography alone, at a responder with a pre-shared key.

use std::hint::black_box;
use std::time::Duration;

use adit_core::{Entropy, Secret};
use adit_crypto::{OsEntropy, Provider};
use adit_isakmp::crypto::{CryptoProvider, SkCipher};
use adit_isakmp::keys::{
    ChildKeys, Exchange, IkeKeys, nat_detection_hash, psk_auth, signed_octets, skeyseed,
};
use adit_isakmp::proposal::{EspProposal, IkeProposal, choose_esp, choose_ike, offer_esp, offer_ike};
use adit_isakmp::{EspSuite, IkeSuite};

use crate::clock;
use crate::load::Target;
use crate::report::Table;

/// How often each is done.
const TIMES: u32 = 2000;
/// Bytes of our IKE_SA_INIT messages and of the two messages of IKE_AUTH, about.
const MESSAGE: usize = 256;

/// One line of the account.
pub struct Line {
    /// What.
    pub what: &'static str,
    /// Processor time of it, for one SA.
    pub time: Duration,
}

/// The account for these proposals, which have to be of one suite each.
///
/// # Errors
/// Proposals that cannot be read, or that the provider lacks.
pub fn account(target: &Target) -> anyhow::Result<Vec<Line>> {
    let (ike, esp) = suites(target)?;
    let work = Work::new(ike, esp, target.psk())?;
    let mut out = Vec::new();
    let mut line = |what, work: &mut dyn FnMut() -> anyhow::Result<()>| {
        let begun = clock::own_cpu();
        for _ in 0..TIMES {
            work()?;
        }
        let time = clock::own_cpu().saturating_sub(begun) / TIMES;
        out.push(Line { what, time });
        anyhow::Ok(())
    };
    line("key pair and shared secret", &mut || work.key_exchange())?;
    line("random nonce and SPI", &mut || work.randomness())?;
    line("keys of the IKE_SA", &mut || work.ike_keys().map(drop))?;
    line("keys of the CHILD_SA", &mut || work.child_keys())?;
    line("AUTH, both", &mut || work.auth())?;
    line("SK payloads: open one, seal one", &mut || work.sk())?;
    line("NAT detection, four hashes", &mut || work.natd())?;
    Ok(out)
}

/// All of it.
pub fn sum(account: &[Line]) -> Duration {
    account.iter().map(|line| line.time).sum()
}

/// The account as a table.
pub fn shown(account: &[Line]) -> String {
    let mut table = Table::new(&["primitives of one SA", "µs"]);
    let micros = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
    account.iter().for_each(|line| table.row([line.what.to_owned(), micros(line.time)]));
    table.row(["all".to_owned(), micros(sum(account))]);
    table.text()
}

struct Work {
    provider: Provider,
    ike: IkeSuite,
    esp: EspSuite,
    peer: Vec<u8>,
    shared: Secret,
    d: Secret,
    p: Secret,
    e: Secret,
    a: Secret,
    psk: Secret,
    sealed: Vec<u8>,
}

const EXCHANGE: Exchange<'static> = Exchange {
    initiator_nonce: &[1; 32],
    responder_nonce: &[2; 32],
    initiator_spi: 0x0102_0304_0506_0708,
    responder_spi: 0x1112_1314_1516_1718,
};

impl Work {
    fn new(ike: IkeSuite, esp: EspSuite, psk: &str) -> anyhow::Result<Self> {
        let provider = Provider::new();
        let peer = provider.generate(ike.ke)?.public().to_vec();
        let shared = provider.encapsulate(ike.ke, &peer)?.1;
        let seed = skeyseed(&provider, ike.prf, &EXCHANGE, &shared);
        let keys = IkeKeys::derive(&provider, &ike, &seed, &EXCHANGE)?;
        let (e, a) = (keys.ei.duplicate(), keys.ai.duplicate());
        let cipher = provider.sk_cipher(ike.encryption, ike.integrity, keys.ei, keys.ai)?;
        let mut sealed = message(&*cipher);
        cipher.seal(&mut sealed, BODY)?;
        let psk = Secret::from(psk.as_bytes());
        Ok(Self { provider, ike, esp, peer, shared, d: keys.d, p: keys.pi, e, a, psk, sealed })
    }

    fn key_exchange(&self) -> anyhow::Result<()> {
        black_box(self.provider.encapsulate(self.ike.ke, black_box(&self.peer))?);
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "a line of the account may fail")]
    fn randomness(&self) -> anyhow::Result<()> {
        let mut entropy = OsEntropy::new();
        let mut nonce = [0; 32];
        entropy.public(&mut nonce);
        black_box((nonce, entropy.public_u64()));
        Ok(())
    }

    fn ike_keys(&self) -> anyhow::Result<IkeKeys> {
        let seed = skeyseed(&self.provider, self.ike.prf, &EXCHANGE, black_box(&self.shared));
        Ok(IkeKeys::derive(&self.provider, &self.ike, &seed, &EXCHANGE)?)
    }

    fn child_keys(&self) -> anyhow::Result<()> {
        let nonces = (EXCHANGE.initiator_nonce, EXCHANGE.responder_nonce);
        let keys =
            ChildKeys::derive(&self.provider, self.ike.prf, black_box(&self.d), &self.esp, nonces, &[])?;
        black_box(keys);
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "a line of the account may fail")]
    fn auth(&self) -> anyhow::Result<()> {
        for _ in 0..2 {
            let (crypto, prf) = (&self.provider, self.ike.prf);
            let octets = signed_octets(crypto, prf, &[3; MESSAGE], &[1; 32], black_box(&self.p), &[4; 24]);
            black_box(psk_auth(crypto, prf, &self.psk, &octets));
        }
        Ok(())
    }

    /// Both ciphers are made anew, as for every SA.
    fn sk(&self) -> anyhow::Result<()> {
        let cipher = || {
            let (key, integrity) = (self.e.duplicate(), self.a.duplicate());
            self.provider.sk_cipher(self.ike.encryption, self.ike.integrity, key, integrity)
        };
        let (opening, sealing) = (cipher()?, cipher()?);
        black_box(opening.open(&mut self.sealed.clone(), BODY)?);
        let mut reply = message(&*sealing);
        black_box(sealing.seal(&mut reply, BODY)?);
        Ok(())
    }

    #[allow(clippy::unnecessary_wraps, reason = "a line of the account may fail")]
    fn natd(&self) -> anyhow::Result<()> {
        for port in 0..4 {
            let address = ([192, 0, 2, 1], port).into();
            black_box(nat_detection_hash(&self.provider, 1, 2, address));
        }
        Ok(())
    }
}

/// What these proposals come to between two who have the same.
fn suites(target: &Target) -> anyhow::Result<(IkeSuite, EspSuite)> {
    let ike = [target.ike.parse::<IkeProposal>()?];
    let esp = [target.esp.parse::<EspProposal>()?];
    let chosen = choose_ike(&ike, &offer_ike(&ike, &[]), &[]).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    let child =
        choose_esp(&esp, &offer_esp(&esp, 1, false), 1, false).map_err(|e| anyhow::anyhow!("{e:?}"))?;
    Ok((chosen.suite, child.suite))
}

/// Header and SK payload header come first.
const BODY: usize = 32;

fn message(cipher: &dyn SkCipher) -> Vec<u8> {
    let block = cipher.block_len().max(1);
    let plain = MESSAGE.next_multiple_of(block);
    vec![0; BODY.saturating_add(cipher.iv_len()).saturating_add(plain).saturating_add(cipher.icv_len())]
}
