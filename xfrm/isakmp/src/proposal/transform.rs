//! Algorithms as transforms.

use crate::algorithm::{Encryption, Integrity, KeMethod, Prf};
use crate::payload::{Proposal, Transform, TransformType};

/// Transform ID 0 of integrity and key exchange: NONE.
pub(super) const NONE: u16 = 0;

/// 64-bit extended sequence numbers, or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Esn(pub(super) bool);

/// An algorithm that is one transform.
pub(super) trait Algorithm: Copy + PartialEq {
    /// Its transform type.
    const KIND: TransformType;

    /// The algorithm, if the transform is one that Adit knows.
    fn read(transform: &Transform) -> Option<Self>;

    /// The transform that offers it.
    fn transform(self) -> Transform;

    /// The best of `ours` that `proposal` has, with the peer's own transform, which is what an answer repeats.
    fn best<'a>(ours: &[Self], proposal: &'a Proposal) -> Option<(Self, &'a Transform)> {
        // [7296:3.3.4-3] [7296:3.3.4-4]
        ours.iter().find_map(|algorithm| {
            // [7296:3.3.6-4]
            proposal.of(Self::KIND).find(|t| Self::read(t) == Some(*algorithm)).map(|t| (*algorithm, t))
        })
    }
}

impl Algorithm for Encryption {
    const KIND: TransformType = TransformType::ENCR;

    fn read(t: &Transform) -> Option<Self> {
        // [7296:3.3.6-7]
        t.others.is_empty().then(|| Self::from_transform(t.id, t.key_length)).flatten()
    }

    fn transform(self) -> Transform {
        let (id, key_length) = Self::transform(self);
        Transform { key_length, ..Transform::new(Self::KIND, id) }
    }
}

macro_rules! plain {
    ($($type:ty = $kind:ident),*) => { $(
        impl Algorithm for $type {
            const KIND: TransformType = TransformType::$kind;

            fn read(t: &Transform) -> Option<Self> {
                without_attributes(t).and_then(Self::from_transform_id)
            }

            fn transform(self) -> Transform {
                Transform::new(Self::KIND, self.transform_id())
            }
        }
    )* };
}
plain!(Integrity = INTEG, Prf = PRF, KeMethod = KE);

impl Algorithm for Esn {
    const KIND: TransformType = TransformType::ESN;

    fn read(t: &Transform) -> Option<Self> {
        match without_attributes(t)? {
            0 => Some(Self(false)),
            1 => Some(Self(true)),
            _ => None,
        }
    }

    fn transform(self) -> Transform {
        Transform::new(Self::KIND, u16::from(self.0))
    }
}

/// The transform type of the additional key exchange `number`, 1 to 7.
pub(super) const fn addke(number: u8) -> TransformType {
    TransformType(TransformType::ADDKE1.0.saturating_add(number).saturating_sub(1))
}

/// The number of the additional key exchange of this type.
pub(super) fn addke_number(kind: TransformType) -> Option<u8> {
    let known = TransformType::ADDKE1.0..=TransformType::ADDKE7.0;
    known.contains(&kind.0).then(|| kind.0.saturating_sub(TransformType::ADDKE1.0).saturating_add(1))
}

/// The transform that offers a method of an additional key exchange, or that it need not take place.
pub(super) fn addke_transform(number: u8, method: Option<KeMethod>) -> Transform {
    Transform::new(addke(number), method.map_or(NONE, KeMethod::transform_id))
}

/// The method of an additional key exchange; `Some(None)`: NONE.
pub(super) fn read_addke(t: &Transform) -> Option<Option<KeMethod>> {
    match without_attributes(t)? {
        NONE => Some(None),
        id => KeMethod::from_transform_id(id).map(Some),
    }
}

/// The transform ID, if there is no attribute, which would mean something that nobody knows.
fn without_attributes(t: &Transform) -> Option<u16> {
    (t.key_length.is_none() && t.others.is_empty()).then_some(t.id)
}
