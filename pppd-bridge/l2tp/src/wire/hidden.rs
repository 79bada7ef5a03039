//! What the secret that both ends share is for: hidden values (§4.3), and the proof of knowing it (§4.4.3).

use adit_core::Secret;
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use super::avp::{Avp, LONGEST_VALUE};
use super::message::{RANDOM_VECTOR, kind};

const BLOCK: usize = 16;
/// Of the length that stands in front of a value that is hidden.
const LENGTH_LEN: usize = 2;

/// Why hidden values stay so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotRevealed {
    /// There is no secret.
    NoSecret,
    /// No Random Vector stands in front of them.
    NoVector,
    /// What comes out makes no sense: the secret is another one.
    WrongSecret,
}

fn md5(parts: &[&[u8]]) -> Zeroizing<[u8; BLOCK]> {
    let mut hash = Md5::new();
    parts.iter().for_each(|part| hash.update(part));
    Zeroizing::new(hash.finalize().into())
}

/// The Challenge Response of the message of this type (2: SCCRP, 3: SCCCN).
// [2661:4.4.3-5]
#[must_use]
pub fn challenge_response(message: u16, secret: &Secret, challenge: &[u8]) -> [u8; 16] {
    let [_, id] = message.to_be_bytes();
    *md5(&[&[id], secret.expose(), challenge])
}

/// The value with what hides it taken off or put on: both are the same but for what the next block hangs on.
fn transform(kind: u16, secret: &Secret, vector: &[u8], value: &[u8], hides: bool) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(value.len()));
    let mut pad = md5(&[&kind.to_be_bytes(), secret.expose(), vector]);
    for block in value.chunks(BLOCK) {
        let made: Zeroizing<Vec<u8>> =
            Zeroizing::new(block.iter().zip(pad.iter()).map(|(b, p)| b ^ p).collect());
        pad = md5(&[secret.expose(), if hides { &made } else { block }]);
        out.extend_from_slice(&made);
    }
    out
}

/// Hides the values of these kinds, behind a Random Vector that goes in front of the first of them. A value that then does
/// not fit stays in clear.
// [2661:4.3-1] [2661:4.3-2]
#[must_use]
pub fn hide(all: Vec<Avp>, kinds: &[u16], secret: &Secret, vector: [u8; 16]) -> Vec<Avp> {
    let mut out = Vec::with_capacity(all.len().saturating_add(1));
    let mut told = false;
    for mut avp in all {
        if kinds.contains(&avp.kind) && avp.value.len().saturating_add(LENGTH_LEN) <= LONGEST_VALUE {
            if !told {
                told = true;
                out.push(Avp::new(true, RANDOM_VECTOR, vector.to_vec()));
            }
            let length = u16::try_from(avp.value.len()).unwrap_or_default();
            let whole = Zeroizing::new([&length.to_be_bytes()[..], &avp.value].concat());
            avp.value = transform(avp.kind, secret, &vector, &whole, true).to_vec();
            avp.hidden = true;
        }
        out.push(avp);
    }
    out
}

/// Takes off what hides values. One that nobody needs to know stays hidden where it can't be read.
///
/// # Errors
/// A value that must be known can't be.
pub fn reveal(mut all: Vec<Avp>, secret: Option<&Secret>) -> Result<Vec<Avp>, NotRevealed> {
    let mut vector: Option<Vec<u8>> = None;
    for avp in &mut all {
        if avp.vendor == 0 && avp.kind == RANDOM_VECTOR && !avp.hidden {
            vector = Some(avp.value.clone());
        }
        if !avp.hidden || avp.vendor != 0 || avp.kind == kind::MESSAGE_TYPE {
            continue;
        }
        match revealed(avp, secret, vector.as_deref()) {
            Ok(value) => (avp.value, avp.hidden) = (value, false),
            Err(why) if avp.mandatory => return Err(why),
            Err(_) => {}
        }
    }
    Ok(all)
}

fn revealed(avp: &Avp, secret: Option<&Secret>, vector: Option<&[u8]>) -> Result<Vec<u8>, NotRevealed> {
    let secret = secret.ok_or(NotRevealed::NoSecret)?;
    let vector = vector.ok_or(NotRevealed::NoVector)?;
    let whole = transform(avp.kind, secret, vector, &avp.value, false);
    let (length, rest) = whole.split_first_chunk::<LENGTH_LEN>().ok_or(NotRevealed::WrongSecret)?;
    let value = rest.get(..usize::from(u16::from_be_bytes(*length)));
    value.map(<[u8]>::to_vec).ok_or(NotRevealed::WrongSecret)
}
