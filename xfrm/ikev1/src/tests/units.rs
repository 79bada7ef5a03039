//! Parts by themselves.

use adit_isakmp::v1::Fragment;

use crate::fragments::Reassembly;

fn piece(id: u16, number: u8, last: bool, data: &[u8]) -> Fragment {
    Fragment { id, number, last, data: data.to_vec() }
}

#[test]
fn pieces_come_in_any_order_and_twice() {
    let mut parts = Reassembly::default();
    assert_eq!(parts.add(piece(1, 3, true, b"c")), None);
    assert_eq!(parts.add(piece(1, 1, false, b"a")), None);
    assert_eq!(parts.add(piece(1, 1, false, b"a")), None);
    assert_eq!(parts.add(piece(1, 2, false, b"b")), Some(b"abc".to_vec()));
    // The same once more: it was sent again.
    for number in [1, 2] {
        assert_eq!(parts.add(piece(1, number, false, b"x")), None);
    }
    assert_eq!(parts.add(piece(1, 3, true, b"c")), Some(b"xxc".to_vec()));
}

#[test]
fn another_message_begins_anew_even_under_the_same_number() {
    let mut parts = Reassembly::default();
    assert_eq!(parts.add(piece(1, 1, false, b"old")), None);
    assert_eq!(parts.add(piece(1, 1, false, b"new")), None);
    assert_eq!(parts.add(piece(1, 2, true, b"!")), Some(b"new!".to_vec()));
    assert_eq!(parts.add(piece(2, 1, false, b"a")), None);
    assert_eq!(parts.add(piece(3, 2, true, b"b")), None);
    assert_eq!(parts.add(piece(3, 1, false, b"a")), Some(b"ab".to_vec()));
}

#[test]
fn no_message_is_kept_that_is_too_long() {
    let mut parts = Reassembly::default();
    for number in 1..=40 {
        assert_eq!(parts.add(piece(1, number, false, &[0; 1000])), None);
    }
    // It was thrown away when it had become too long; what is left does not make a whole.
    assert_eq!(parts.add(piece(1, 41, true, b"end")), None);
}
