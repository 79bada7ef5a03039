use super::{Notify, NotifyType};

/// PPK_ID: which postquantum preshared key is meant (RFC 8784 §5.1). It is the data of PPK_IDENTITY.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PpkId {
    /// PPK_ID_FIXED (2): the name of a key that both ends have been given.
    Fixed(Vec<u8>),
    /// Any other type: its number, and what follows. PPK_ID_OPAQUE is 1.
    Other(u8, Vec<u8>),
}

const FIXED: u8 = 2;

impl PpkId {
    /// Reads the data of PPK_IDENTITY. `None`: it is empty, as in a response.
    #[must_use]
    pub fn parse(data: &[u8]) -> Option<Self> {
        // [8784:5.1-1]
        let (kind, rest) = data.split_first()?;
        Some(match *kind {
            FIXED => Self::Fixed(rest.to_vec()),
            other => Self::Other(other, rest.to_vec()),
        })
    }

    /// The notification that names it.
    #[must_use]
    pub fn notify(&self) -> Notify {
        let (kind, rest) = match self {
            Self::Fixed(name) => (FIXED, name),
            Self::Other(kind, rest) => (*kind, rest),
        };
        Notify::new(NotifyType::PPK_IDENTITY, [&[kind][..], rest].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // [8784:5.1-1]
    #[test]
    fn a_name_stands_behind_its_type() {
        let id = PpkId::Fixed(b"staff".to_vec());
        let notify = id.notify();
        assert_eq!((notify.kind, &notify.data[..]), (NotifyType(16436), &b"\x02staff"[..]));
        assert_eq!((PpkId::parse(&notify.data), PpkId::parse(b"")), (Some(id), None));
        assert_eq!(PpkId::parse(b"\x01x"), Some(PpkId::Other(1, b"x".to_vec())));
    }

    proptest! {
        #[test]
        fn there_and_back(data in proptest::collection::vec(any::<u8>(), 1..300)) {
            prop_assert_eq!(PpkId::parse(&data).unwrap().notify().data, data);
        }
    }
}
