use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{CtAssign as _, CtEq as _, Uint, Word};
use zeroize::Zeroize as _;

use super::Exponent;

/// Bits of the exponent that one multiplication takes: a table of 64 powers, which fits the fastest cache for the
/// groups in common use.
const TEETH: u32 = 6;

/// Powers of a group's generator 2, made once, for a quarter of the multiplications (Lim and Lee's method): the
/// exponent is laid in rows of `columns` bits, and the bits of a column choose a power at once.
pub(super) struct Comb<const L: usize> {
    /// At i: the product of 2^(2^(j · columns)) over the bits j of i, in Montgomery form.
    table: Vec<Uint<L>>,
    columns: u32,
}

impl<const L: usize> Comb<L> {
    pub(super) fn new(params: &FixedMontyParams<L>, exponent_bits: u32) -> Self {
        let columns = exponent_bits.div_ceil(TEETH);
        let mut tooth = FixedMontyForm::new(&Uint::from(2_u8), params);
        let mut table = vec![FixedMontyForm::one(params)];
        for _ in 0..TEETH {
            let with: Vec<_> = table.iter().map(|power| power.mul(&tooth)).collect();
            table.extend(with);
            for _ in 0..columns {
                tooth = tooth.square();
            }
        }
        Self { table: table.iter().map(FixedMontyForm::to_montgomery).collect(), columns }
    }

    /// 2 to the power of `exponent`, in constant time: every power of the table is read for every column.
    pub(super) fn power(&self, exponent: &Exponent, params: &FixedMontyParams<L>) -> Uint<L> {
        let mut power = FixedMontyForm::one(params);
        let mut chosen = Uint::<L>::ZERO;
        for column in (0..self.columns).rev() {
            power = power.square();
            let index = (0..TEETH).fold(0, |index, tooth| {
                index | (exponent.bit(tooth.saturating_mul(self.columns).saturating_add(column)) << tooth)
            });
            for (at, entry) in (0 as Word..).zip(&self.table) {
                chosen.ct_assign(entry, at.ct_eq(&index));
            }
            power = power.mul(&FixedMontyForm::from_montgomery(chosen, params));
        }
        let out = power.retrieve();
        power.zeroize();
        chosen.zeroize();
        out
    }
}
