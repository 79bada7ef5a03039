//! DHCPINFORM, as the server of a tunnel and as its client.

use std::net::Ipv4Addr;

use adit_plan::dhcp::{Offer, answer, learned};

/// A datagram: as a question, and as an answer to one of ours. What a client has learned, a server can say.
pub fn inform(data: &[u8]) {
    let client = Ipv4Addr::new(10, 9, 0, 7);
    let offer = Offer {
        server: client,
        routes: Vec::new(),
        dns: vec![client],
        domain: Some("example.com".to_owned()),
    };
    if let Some(answer) = answer(data, client, &offer) {
        let transaction = data.get(4..8).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        assert!(learned(&answer, transaction.expect("a question has one")).is_ok_and(|l| l.is_some()));
    }
    let transaction = 0x5d0c_1107;
    if let Ok(Some(known)) = learned(data, transaction) {
        let offer = Offer {
            server: client,
            routes: known.routes.clone(),
            dns: known.dns.clone(),
            domain: known.domain.clone(),
        };
        let again =
            answer(&adit_plan::dhcp::inform(transaction, client), client, &offer).expect("a question");
        assert_eq!(learned(&again, transaction), Ok(Some(known)));
    }
}

pub(crate) fn samples() -> Vec<(&'static str, String, Vec<u8>)> {
    let client = Ipv4Addr::new(10, 9, 0, 7);
    let question = adit_plan::dhcp::inform(0x5d0c_1107, client);
    let routes = ["10.1.0.0/16", "192.168.5.128/25"].iter().filter_map(|p| p.parse().ok()).collect();
    let offer = Offer { server: client, routes, dns: vec![client], domain: Some("example.com".to_owned()) };
    let reply = answer(&question, client, &offer);
    let named = [("question", Some(question)), ("answer", reply)];
    named.into_iter().filter_map(|(name, bytes)| Some(("dhcp_inform", name.to_owned(), bytes?))).collect()
}
