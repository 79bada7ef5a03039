//! What EAP's methods ask of an engine.

use adit_auth::eap::{TlsAnswer, TlsAsk, Tunnel};
use adit_pki::identity_texts;

use crate::Engine;

/// Does what is asked. One engine serves one conversation, and answers its asks in their order.
pub fn answer(engine: &mut Engine, ask: TlsAsk) -> TlsAnswer {
    let failure = engine.feed(&ask.records).err();
    if let (None, Some(plaintext)) = (&failure, &ask.write) {
        engine.write(plaintext.expose());
    }
    let mut answer = TlsAnswer { records: engine.records(), failure, ..TlsAnswer::default() };
    if answer.failure.is_some() {
        return answer;
    }
    let plaintext = engine.plaintext();
    answer.plaintext.extend((!plaintext.is_empty()).then_some(plaintext));
    answer.tunnel = engine.tunnel().map(|tunnel| Tunnel {
        version: tunnel.version,
        names: tunnel.certificates.first().map(|der| identity_texts(der)).unwrap_or_default(),
    });
    answer.exported = ask
        .export
        .iter()
        .filter_map(|e| {
            let context = e.context.map(|byte| [byte]);
            engine.export(e.label, context.as_ref().map(|c| &c[..]), e.length)
        })
        .collect();
    answer
}
