use adit_core::Secret;
use adit_isakmp::algorithm::KeMethod;
use adit_isakmp::crypto::{CryptoError, KeyExchange};
use ml_kem::kem::{Decapsulate, FromSeed, Kem, Key, KeyExport};
use ml_kem::{B32, EncapsulationKey, MlKem512, MlKem768, MlKem1024, Seed};
use ring::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::entropy;

/// A key pair of ML-KEM (FIPS 203): the public value is the encapsulation key.
pub(crate) fn generate(method: KeMethod, random: &SystemRandom) -> Result<Box<dyn KeyExchange>, CryptoError> {
    let mut seed = Zeroizing::new(Seed::default());
    entropy::fill(random, &mut seed);
    from_seed(method, &seed)
}

pub(crate) fn from_seed(method: KeMethod, seed: &Seed) -> Result<Box<dyn KeyExchange>, CryptoError> {
    match method {
        KeMethod::MlKem512 => Ok(MlKemKey::<MlKem512>::boxed(method, seed)),
        KeMethod::MlKem768 => Ok(MlKemKey::<MlKem768>::boxed(method, seed)),
        KeMethod::MlKem1024 => Ok(MlKemKey::<MlKem1024>::boxed(method, seed)),
        _ => Err(CryptoError::Unsupported),
    }
}

/// A responder's ciphertext and the shared secret. Keys whose coefficients are not reduced are refused (FIPS 203
/// §7.2).
pub(crate) fn encapsulate(
    method: KeMethod,
    peer: &[u8],
    random: &SystemRandom,
) -> Result<(Vec<u8>, Secret), CryptoError> {
    // FIPS 203's m: 32 random bytes, once.
    let mut message = Zeroizing::new(B32::default());
    entropy::fill(random, &mut message);
    encapsulate_message(method, peer, &message)
}

pub(crate) fn encapsulate_message(
    method: KeMethod,
    peer: &[u8],
    message: &B32,
) -> Result<(Vec<u8>, Secret), CryptoError> {
    macro_rules! encapsulate {
        ($set:ty) => {{
            let key =
                Key::<EncapsulationKey<$set>>::try_from(peer).map_err(|_| CryptoError::BadPublicValue)?;
            let key = EncapsulationKey::<$set>::new(&key).map_err(|_| CryptoError::BadPublicValue)?;
            let (ciphertext, shared) = key.encapsulate_deterministic(message);
            (ciphertext.to_vec(), Zeroizing::new(shared))
        }};
    }
    let (ciphertext, shared) = match method {
        KeMethod::MlKem512 => encapsulate!(MlKem512),
        KeMethod::MlKem768 => encapsulate!(MlKem768),
        KeMethod::MlKem1024 => encapsulate!(MlKem1024),
        _ => return Err(CryptoError::Unsupported),
    };
    Ok((ciphertext, Secret::from(shared.as_slice())))
}

struct MlKemKey<P: Kem> {
    method: KeMethod,
    private: P::DecapsulationKey,
    public: Vec<u8>,
}

impl<P> MlKemKey<P>
where
    P: FromSeed,
    P::EncapsulationKey: KeyExport,
    P::DecapsulationKey: Decapsulate<Kem = P> + Send,
{
    fn boxed(method: KeMethod, seed: &ml_kem::kem::Seed<P>) -> Box<dyn KeyExchange> {
        let (private, public) = P::from_seed(seed);
        Box::new(Self { method, private, public: public.to_bytes().to_vec() })
    }
}

impl<P> KeyExchange for MlKemKey<P>
where
    P: Kem,
    P::DecapsulationKey: Decapsulate<Kem = P> + Send,
{
    fn method(&self) -> KeMethod {
        self.method
    }

    fn public(&self) -> &[u8] {
        &self.public
    }

    /// A ciphertext that was not made for this key gives a secret that nobody else has (FIPS 203 §6.3): only its
    /// length can be wrong.
    fn agree(self: Box<Self>, peer: &[u8]) -> Result<Secret, CryptoError> {
        let shared = self.private.decapsulate_slice(peer).map_err(|_| CryptoError::BadPublicValue)?;
        let shared = Zeroizing::new(shared);
        Ok(Secret::from(shared.as_slice()))
    }
}
