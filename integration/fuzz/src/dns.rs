//! What comes back from a DNS server.

use adit_plan::query::{Answer, Query, Records};

fn queries() -> [Query; 3] {
    [Records::V4, Records::V6, Records::Services]
        .map(|records| Query { id: 0x5d0c, name: "vpn.example.com".to_owned(), records })
}

/// A datagram as the answer to a question of ours: of its family, and no address twice.
pub fn answer(data: &[u8]) {
    for query in queries() {
        if let Ok(Answer::Addresses(found)) = query.answer(data) {
            assert!(found.iter().all(|address| address.is_ipv4() == (query.records == Records::V4)));
            assert!(found.iter().enumerate().all(|(at, address)| !found.iter().take(at).any(|a| a == address)));
        }
    }
}

pub(crate) fn samples() -> Vec<(&'static str, String, Vec<u8>)> {
    // A CNAME to gw.example.com, and its address; an SRV record.
    let records: [&[u8]; 3] = [
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x05\x02gw\xc0\x10\xc0\x2d\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x01",
        b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x0b\0\x0a\0\x05\x01\xf4\x02gw\xc0\x10",
    ];
    let named = queries().into_iter().zip(records).zip([("ipv4", 2), ("ipv6", 1), ("services", 1)]);
    let sample = |((query, records), (name, count)): ((Query, &[u8]), (&str, u8))| {
        let mut octets = query.emit()?;
        octets.splice(2..4, [0x81, 0x80]);
        octets.splice(6..8, [0, count]);
        octets.extend(records);
        Some(("dns_answer", name.to_owned(), octets))
    };
    named.filter_map(sample).collect()
}
