//! The state machine as a whole: whatever a peer that has the keys sends into an IKE_SA that is up, in any order, what
//! comes out is bounded, and the IKE_SA is there or gone.

use adit_isakmp::payload::{KeyExchangeData, Notify, NotifyType};
use adit_isakmp::proposal::{offer_esp, offer_ike};
use adit_isakmp::{ExchangeType, KeMethod, Payload, PayloadType};

use super::script::Peer;
use super::*;

struct Dice(Counting);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.public(&mut bytes);
        usize::try_from(u32::from_be_bytes(bytes)).unwrap() % sides
    }

    fn payload(&mut self, spi: u32) -> Payload {
        const NOTIFIES: [NotifyType; 10] = [
            NotifyType::REKEY_SA,
            NotifyType::TEMPORARY_FAILURE,
            NotifyType::CHILD_SA_NOT_FOUND,
            NotifyType::NO_ADDITIONAL_SAS,
            NotifyType::INVALID_KE_PAYLOAD,
            NotifyType::USE_TRANSPORT_MODE,
            NotifyType::INVALID_SYNTAX,
            NotifyType::COOKIE,
            NotifyType::AUTHENTICATION_FAILED,
            NotifyType::MS_STATUS,
        ];
        match self.roll(10) {
            0 | 1 => {
                let mut data = vec![0; self.roll(9)];
                self.0.public(&mut data);
                Payload::Notify(Notify::new(NOTIFIES[self.roll(NOTIFIES.len())], data))
            }
            2 => Payload::Sa(offer_esp(&["aes256gcm16-x25519".parse().unwrap()], spi, true)),
            3 => Payload::Sa(offer_ike(&[IKE.parse().unwrap()], &u64::from(spi).to_be_bytes())),
            4 => {
                let key = ToyCrypto::new(5).generate(KeMethod::Curve25519).unwrap();
                Payload::Ke(KeyExchangeData::new(KeMethod::Curve25519, key.public().to_vec()))
            }
            5 => Payload::Nonce(vec![3; 16 + self.roll(32)]),
            6 => Payload::TsI([ts("10.9.0.7/32")].into_iter().collect()),
            7 => Payload::TsR([ts("0.0.0.0/0")].into_iter().collect()),
            8 => Payload::Vendor(vec![1; self.roll(3000)]),
            _ => {
                let kind = PayloadType(200);
                Payload::Unknown { kind, critical: self.roll(4) == 0, body: vec![0; 3] }
            }
        }
    }

    /// A message that is well formed, or any payloads at all.
    fn message(&mut self, spi: u32) -> (ExchangeType, Vec<Payload>) {
        let exchange = match self.roll(8) {
            0 => ExchangeType::IKE_AUTH,
            1 => ExchangeType::IKE_INTERMEDIATE,
            2 => ExchangeType::IKE_FOLLOWUP_KE,
            3 | 4 => ExchangeType::INFORMATIONAL,
            _ => ExchangeType::CREATE_CHILD_SA,
        };
        let count = self.roll(8);
        (exchange, (0..count).map(|_| self.payload(spi)).collect())
    }
}

#[test]
fn any_messages_in_any_order_leave_an_ike_sa_that_is_there_or_gone() {
    for seed in 1..150 {
        let mut dice = Dice(Counting(seed));
        let mut server = Node::server();
        let mut peer = Peer::dial(&mut server);
        let input = peer.ask_auth(|_| {});
        server.give(Instant::ZERO, input);
        assert!(server.established().is_some());
        server.sent();
        let (mut now, mut id) = (Instant::ZERO, 2);
        for turn in 0..40_u32 {
            match dice.roll(10) {
                0 => server.rekey(now),
                1 => {
                    let sa = server.sa();
                    server.give(now, Input::Rekey { sa, child: None });
                }
                2 => now = now + seconds(40),
                _ => {}
            }
            let (exchange, payloads) = dice.message(1000 + turn);
            let response = dice.roll(3) == 0;
            let message_id = if response { u32::try_from(dice.roll(4)).unwrap() } else { id };
            let before = server.sent().len();
            let input = peer.seal(exchange, message_id, response, &payloads);
            server.give(now, input);
            assert!(before <= 20 && server.sent.len() <= 20, "seed {seed}: {} datagrams", server.sent.len());
            if !response && server.sent.iter().any(|t| t.payload[19] & 0x20 != 0) {
                id += 1;
            }
        }
        assert!(server.children.len() <= 80 && server.up().len() <= 65, "seed {seed}");
        // It ends by itself when the peer says no more.
        for _ in 0..400 {
            if server.endpoint.is_empty() {
                break;
            }
            server.wake();
        }
        assert!(server.endpoint.is_empty(), "seed {seed}");
        assert!(server.closed().is_some() && server.up().is_empty(), "seed {seed}");
    }
}
