/// Randomness, as an argument. Values that everybody sees (SPIs, nonces, cookies' versions, jitter) and values that
/// nobody may see come from separate calls, so that a public value never reveals a generator's state that made a
/// secret.
pub trait Entropy: Send {
    /// Fills `out` with unpredictable bytes that will be public.
    fn public(&mut self, out: &mut [u8]);

    /// Fills `out` with unpredictable bytes that stay secret.
    fn secret(&mut self, out: &mut [u8]);

    /// An unpredictable public number.
    fn public_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.public(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}
