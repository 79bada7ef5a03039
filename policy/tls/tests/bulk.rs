//! A session that carries much: whatever comes at once is taken at once.
#![allow(clippy::unwrap_used, reason = "a test")]

use adit_tls::{Engine, Versions};

#[path = "common/pki.rs"]
mod pki;

/// rustls keeps 16 KiB of what was said, unless somebody takes it; a socket gives more at once.
#[test]
fn records_of_any_number_are_fed_at_once() {
    for versions in [Versions::Only12, Versions::Only13] {
        let world = pki::world(versions, false);
        let (mut client, mut server) =
            (Engine::client(&world.client).unwrap(), Engine::server(&world.server).unwrap());
        for _ in 0..4 {
            server.feed(&client.records()).unwrap();
            client.feed(&server.records()).unwrap();
        }
        let words: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        client.write(&words);
        let records = client.records();
        assert!(records.len() > words.len());
        server.feed(&records).unwrap();
        assert!(server.plaintext().equals(&words));
        assert!(server.plaintext().is_empty());
        // In pieces that end anywhere.
        client.write(&words);
        let mut heard = Vec::new();
        for piece in client.records().chunks(40_001) {
            server.feed(piece).unwrap();
            heard.extend_from_slice(server.plaintext().expose());
        }
        assert_eq!(heard, words);
        // Who listens hears the same, and nothing of it is left.
        client.write(&words);
        let mut heard = Vec::new();
        for piece in client.records().chunks(40_001) {
            server.listen(piece, |octets| heard.extend_from_slice(octets)).unwrap();
        }
        assert_eq!(heard, words);
        assert!(server.plaintext().is_empty());
    }
}
