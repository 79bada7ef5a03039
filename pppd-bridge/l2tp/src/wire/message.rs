use adit_core::DecodeError;

use super::avp::Avp;
use super::values::{Proxy, ResultCode, fixed, text, u16_of, u32_of, written};

/// Random Vector.
pub(crate) const RANDOM_VECTOR: u16 = 36;

/// Attribute Types (§4.4).
pub(crate) mod kind {
    pub(crate) const MESSAGE_TYPE: u16 = 0;
    pub(crate) const RESULT_CODE: u16 = 1;
    pub(crate) const PROTOCOL_VERSION: u16 = 2;
    pub(crate) const FRAMING_CAPABILITIES: u16 = 3;
    pub(crate) const BEARER_CAPABILITIES: u16 = 4;
    pub(crate) const TIE_BREAKER: u16 = 5;
    pub(crate) const FIRMWARE_REVISION: u16 = 6;
    pub(crate) const HOST_NAME: u16 = 7;
    pub(crate) const VENDOR_NAME: u16 = 8;
    pub(crate) const ASSIGNED_TUNNEL_ID: u16 = 9;
    pub(crate) const RECEIVE_WINDOW_SIZE: u16 = 10;
    pub(crate) const CHALLENGE: u16 = 11;
    pub(crate) const CHALLENGE_RESPONSE: u16 = 13;
    pub(crate) const ASSIGNED_SESSION_ID: u16 = 14;
    pub(crate) const CALL_SERIAL_NUMBER: u16 = 15;
    pub(crate) const MINIMUM_BPS: u16 = 16;
    pub(crate) const MAXIMUM_BPS: u16 = 17;
    pub(crate) const BEARER_TYPE: u16 = 18;
    pub(crate) const FRAMING_TYPE: u16 = 19;
    pub(crate) const CALLED_NUMBER: u16 = 21;
    pub(crate) const CALLING_NUMBER: u16 = 22;
    pub(crate) const SUB_ADDRESS: u16 = 23;
    pub(crate) const TX_CONNECT_SPEED: u16 = 24;
    pub(crate) const PHYSICAL_CHANNEL_ID: u16 = 25;
    pub(crate) const INITIAL_RECEIVED_LCP: u16 = 26;
    pub(crate) const LAST_SENT_LCP: u16 = 27;
    pub(crate) const LAST_RECEIVED_LCP: u16 = 28;
    pub(crate) const PROXY_AUTHEN_TYPE: u16 = 29;
    pub(crate) const PROXY_AUTHEN_NAME: u16 = 30;
    pub(crate) const PROXY_AUTHEN_CHALLENGE: u16 = 31;
    pub(crate) const PROXY_AUTHEN_ID: u16 = 32;
    pub(crate) const PROXY_AUTHEN_RESPONSE: u16 = 33;
    pub(crate) const CALL_ERRORS: u16 = 34;
    pub(crate) const ACCM: u16 = 35;
    pub(crate) const RX_CONNECT_SPEED: u16 = 38;
    pub(crate) const SEQUENCING_REQUIRED: u16 = 39;
    /// Whether it is known.
    pub(crate) const fn is_known(kind: u16) -> bool {
        kind <= SEQUENCING_REQUIRED && kind != 20
    }
}

/// What is hidden where values are hidden: what tells of a session and of who is in it. Of a tunnel's own first messages
/// nothing is, so that a peer without the secret can say so.
pub(crate) const HIDABLE: &[u16] = &[
    kind::ASSIGNED_SESSION_ID,
    kind::CALL_SERIAL_NUMBER,
    kind::CALLED_NUMBER,
    kind::CALLING_NUMBER,
    kind::SUB_ADDRESS,
    kind::TX_CONNECT_SPEED,
    kind::RX_CONNECT_SPEED,
    kind::PHYSICAL_CHANNEL_ID,
    kind::INITIAL_RECEIVED_LCP,
    kind::LAST_SENT_LCP,
    kind::LAST_RECEIVED_LCP,
    kind::PROXY_AUTHEN_TYPE,
    kind::PROXY_AUTHEN_NAME,
    kind::PROXY_AUTHEN_CHALLENGE,
    kind::PROXY_AUTHEN_ID,
    kind::PROXY_AUTHEN_RESPONSE,
];

/// A control message (RFC 2661 §6). AVPs that nobody uses are not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Start-Control-Connection-Request.
    Sccrq(Start),
    /// Start-Control-Connection-Reply.
    Sccrp(Start),
    /// Start-Control-Connection-Connected.
    Scccn {
        /// The answer to the reply's challenge.
        response: Option<[u8; 16]>,
    },
    /// Stop-Control-Connection-Notification.
    StopCcn {
        /// Assigned Tunnel ID: its sender's.
        tunnel: u16,
        /// Why.
        result: ResultCode,
    },
    /// Hello.
    Hello,
    /// Outgoing-Call-Request: the LNS wants the LAC to dial.
    Ocrq(OutgoingCall),
    /// Outgoing-Call-Reply.
    Ocrp {
        /// Assigned Session ID: its sender's.
        session: u16,
    },
    /// Outgoing-Call-Connected.
    Occn(Connected),
    /// Incoming-Call-Request: the LAC has a call for the LNS.
    Icrq(IncomingCall),
    /// Incoming-Call-Reply.
    Icrp {
        /// Assigned Session ID: its sender's.
        session: u16,
    },
    /// Incoming-Call-Connected.
    Iccn(Connected),
    /// Call-Disconnect-Notify.
    Cdn {
        /// Assigned Session ID: its sender's.
        session: u16,
        /// Why.
        result: ResultCode,
    },
    /// WAN-Error-Notify.
    Wen(CallErrors),
    /// Set-Link-Info.
    Sli {
        /// Send ACCM.
        send: u32,
        /// Receive ACCM.
        receive: u32,
    },
    /// A type that is not known.
    Unknown(u16),
}

/// Who an end says it is (§6.1, §6.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Protocol Version and revision: 1, 0.
    pub version: (u8, u8),
    /// Framing Capabilities: 1 synchronous, 2 asynchronous.
    pub framing: u32,
    /// Bearer Capabilities: 1 digital, 2 analogue.
    pub bearer: Option<u32>,
    /// Host Name.
    pub host_name: String,
    /// Vendor Name.
    pub vendor: Option<String>,
    /// Firmware Revision.
    pub firmware: Option<u16>,
    /// Assigned Tunnel ID.
    pub tunnel: u16,
    /// Receive Window Size, in messages; 4 where it is not said.
    pub window: Option<u16>,
    /// Challenge: prove that you know the secret.
    pub challenge: Option<Vec<u8>>,
    /// Challenge Response, of a reply.
    pub response: Option<[u8; 16]>,
    /// Tie Breaker, of a request.
    pub tie_breaker: Option<[u8; 8]>,
}

/// A call that an LNS wants (§6.9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingCall {
    /// Assigned Session ID.
    pub session: u16,
    /// Call Serial Number.
    pub serial: u32,
    /// Called Number.
    pub called: String,
}

/// A call that an LAC has (§6.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncomingCall {
    /// Assigned Session ID.
    pub session: u16,
    /// Call Serial Number.
    pub serial: u32,
    /// Called Number.
    pub called: Option<String>,
    /// Calling Number.
    pub calling: Option<String>,
}

/// What is said of a call that is up (§6.8, §6.11).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Connected {
    /// (Tx) Connect Speed BPS.
    pub speed: u32,
    /// Framing Type: 1 synchronous, 2 asynchronous.
    pub framing: u32,
    /// Sequencing Required: data messages have sequence numbers.
    pub sequencing: bool,
    /// What the LAC has negotiated already.
    pub proxy: Proxy,
}

/// Errors of the LAC's line, since the call is up (§4.4.6).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CallErrors {
    /// CRC errors, framing errors, hardware overruns, buffer overruns, time-out errors, alignment errors.
    pub counts: [u32; 6],
}

/// A message, and what in it ends what it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Read {
    /// The message.
    pub message: Message,
    /// Its type has to be known (M of its Message Type).
    pub mandatory: bool,
    /// An AVP that has to be known and is not: vendor and type.
    pub unknown: Option<(u16, u16)>,
}

/// Bits a second that are claimed where a number is needed: nothing limits a call here.
const SPEED: u32 = 100_000_000;
/// Either framing, either bearer.
const ANY: u32 = 3;
/// Of AVPs that a 16 bit number begins that nobody uses.
const RESERVED: [u8; 2] = [0; 2];

impl Message {
    /// Its Message Type.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::Sccrq(_) => 1,
            Self::Sccrp(_) => 2,
            Self::Scccn { .. } => 3,
            Self::StopCcn { .. } => 4,
            Self::Hello => 6,
            Self::Ocrq(_) => 7,
            Self::Ocrp { .. } => 8,
            Self::Occn(_) => 9,
            Self::Icrq(_) => 10,
            Self::Icrp { .. } => 11,
            Self::Iccn(_) => 12,
            Self::Cdn { .. } => 14,
            Self::Wen(_) => 15,
            Self::Sli { .. } => 16,
            Self::Unknown(kind) => *kind,
        }
    }

    /// Reads AVPs from which what hid them has been taken off.
    ///
    /// # Errors
    /// No message of its type is like that.
    // [2661:4.4.1-1] [2661:4.4.1-2] [2661:4.1-2] [2661:4.1-3]
    pub fn read(all: &[Avp]) -> Result<Read, DecodeError> {
        let no_type = || DecodeError::new(0, "a message begins with its Message Type");
        let (first, rest) = all.split_first().ok_or_else(no_type)?;
        if !first.is_plain() || first.kind != kind::MESSAGE_TYPE {
            return Err(no_type());
        }
        let is_known = |avp: &&Avp| avp.is_plain() && kind::is_known(avp.kind);
        let unknown = rest.iter().filter(|avp| avp.mandatory).find(|avp| !is_known(avp));
        let message = Fields(rest).message(u16_of(&first.value)?)?;
        Ok(Read { message, mandatory: first.mandatory, unknown: unknown.map(|avp| (avp.vendor, avp.kind)) })
    }

    /// The Assigned Tunnel ID of an SCCRQ, whatever else is wrong with it.
    pub(crate) fn wishes_tunnel(all: &[Avp]) -> Option<u16> {
        let (first, rest) = all.split_first()?;
        let wishes = first.is_plain() && first.kind == kind::MESSAGE_TYPE && first.value == [0, 1];
        Fields(rest).assigned(kind::ASSIGNED_TUNNEL_ID).ok().filter(|_| wishes)
    }

    /// Its AVPs, in clear.
    // [2661:4.4.1-3] [2661:6-1]
    #[must_use]
    pub fn avps(&self) -> Vec<Avp> {
        let w = Writer(Vec::new()).u16(true, kind::MESSAGE_TYPE, self.kind());
        match self {
            Self::Sccrq(start) | Self::Sccrp(start) => start.write(w),
            Self::Scccn { response } => w.some(true, kind::CHALLENGE_RESPONSE, response.map(|r| r.to_vec())),
            Self::StopCcn { tunnel, result } => {
                w.u16(true, kind::ASSIGNED_TUNNEL_ID, *tunnel).add(true, kind::RESULT_CODE, result.emit())
            }
            Self::Hello | Self::Unknown(_) => w,
            Self::Ocrq(call) => w
                .u16(true, kind::ASSIGNED_SESSION_ID, call.session)
                .u32(true, kind::CALL_SERIAL_NUMBER, call.serial)
                .u32(true, kind::MINIMUM_BPS, 0)
                .u32(true, kind::MAXIMUM_BPS, SPEED)
                .u32(true, kind::BEARER_TYPE, ANY)
                .u32(true, kind::FRAMING_TYPE, ANY)
                .add(true, kind::CALLED_NUMBER, written(&call.called)),
            Self::Ocrp { session } | Self::Icrp { session } => {
                w.u16(true, kind::ASSIGNED_SESSION_ID, *session)
            }
            Self::Occn(connected) | Self::Iccn(connected) => connected.write(w),
            Self::Icrq(call) => w
                .u16(true, kind::ASSIGNED_SESSION_ID, call.session)
                .u32(true, kind::CALL_SERIAL_NUMBER, call.serial)
                .some(true, kind::CALLED_NUMBER, call.called.as_deref().map(written))
                .some(true, kind::CALLING_NUMBER, call.calling.as_deref().map(written)),
            Self::Cdn { session, result } => {
                w.add(true, kind::RESULT_CODE, result.emit()).u16(true, kind::ASSIGNED_SESSION_ID, *session)
            }
            Self::Wen(errors) => {
                let counts = errors.counts.iter().flat_map(|n| n.to_be_bytes());
                w.add(true, kind::CALL_ERRORS, RESERVED.into_iter().chain(counts).collect())
            }
            Self::Sli { send, receive } => {
                let both = [*send, *receive].into_iter().flat_map(u32::to_be_bytes);
                w.add(true, kind::ACCM, RESERVED.into_iter().chain(both).collect())
            }
        }
        .0
    }
}

/// The AVPs of a message behind its type.
struct Fields<'a>(&'a [Avp]);

impl Fields<'_> {
    fn find<T>(
        &self,
        kind: u16,
        read: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let found = self.0.iter().find(|avp| avp.is_plain() && avp.kind == kind);
        found.map(|avp| read(&avp.value)).transpose()
    }

    fn need<T>(
        &self,
        kind: u16,
        why: &'static str,
        read: impl Fn(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.find(kind, read)?.ok_or(DecodeError::new(0, why))
    }

    /// Assigned Tunnel ID or Assigned Session ID.
    // [2661:4.4.3-1] [2661:4.4.4-1] [2661:5.3-1]
    fn assigned(&self, kind: u16) -> Result<u16, DecodeError> {
        let id = self.need(kind, "the message assigns no ID", u16_of)?;
        if id == 0 {
            return Err(DecodeError::new(0, "0 is no ID that may be assigned"));
        }
        Ok(id)
    }

    fn session(&self) -> Result<u16, DecodeError> {
        self.assigned(kind::ASSIGNED_SESSION_ID)
    }

    fn result(&self) -> Result<ResultCode, DecodeError> {
        self.need(kind::RESULT_CODE, "the message has no Result Code", ResultCode::parse)
    }

    fn serial(&self) -> Result<u32, DecodeError> {
        self.need(kind::CALL_SERIAL_NUMBER, "the call has no Call Serial Number", u32_of)
    }

    fn text(&self, kind: u16) -> Result<Option<String>, DecodeError> {
        self.find(kind, |value| Ok(text(value)))
    }

    fn bytes(&self, kind: u16) -> Result<Option<Vec<u8>>, DecodeError> {
        self.find(kind, |value| Ok(value.to_vec()))
    }

    fn message(&self, message: u16) -> Result<Message, DecodeError> {
        Ok(match message {
            1 => Message::Sccrq(self.start()?),
            2 => Message::Sccrp(self.start()?),
            3 => Message::Scccn { response: self.find(kind::CHALLENGE_RESPONSE, fixed)? },
            4 => Message::StopCcn {
                // Who stops before it has assigned one may say 0.
                tunnel: self.need(kind::ASSIGNED_TUNNEL_ID, "the message names no tunnel", u16_of)?,
                result: self.result()?,
            },
            6 => Message::Hello,
            7 => Message::Ocrq(OutgoingCall {
                session: self.session()?,
                serial: self.serial()?,
                called: self.text(kind::CALLED_NUMBER)?.unwrap_or_default(),
            }),
            8 => Message::Ocrp { session: self.session()? },
            9 => Message::Occn(self.connected()?),
            10 => Message::Icrq(IncomingCall {
                session: self.session()?,
                serial: self.serial()?,
                called: self.text(kind::CALLED_NUMBER)?,
                calling: self.text(kind::CALLING_NUMBER)?,
            }),
            11 => Message::Icrp { session: self.session()? },
            12 => Message::Iccn(self.connected()?),
            14 => Message::Cdn {
                session: self.need(kind::ASSIGNED_SESSION_ID, "the message names no session", u16_of)?,
                result: self.result()?,
            },
            15 => {
                Message::Wen(self.need(kind::CALL_ERRORS, "the message has no Call Errors", call_errors)?)
            }
            16 => self.need(kind::ACCM, "the message has no ACCM", accm)?,
            other => Message::Unknown(other),
        })
    }

    fn start(&self) -> Result<Start, DecodeError> {
        let [version, revision] =
            self.need(kind::PROTOCOL_VERSION, "the message has no Protocol Version", fixed)?;
        Ok(Start {
            version: (version, revision),
            framing: self.need(
                kind::FRAMING_CAPABILITIES,
                "the message has no Framing Capabilities",
                u32_of,
            )?,
            bearer: self.find(kind::BEARER_CAPABILITIES, u32_of)?,
            host_name: self.need(kind::HOST_NAME, "the message has no Host Name", |v| Ok(text(v)))?,
            vendor: self.text(kind::VENDOR_NAME)?,
            firmware: self.find(kind::FIRMWARE_REVISION, u16_of)?,
            tunnel: self.assigned(kind::ASSIGNED_TUNNEL_ID)?,
            window: self.find(kind::RECEIVE_WINDOW_SIZE, window)?,
            challenge: self.find(kind::CHALLENGE, challenge)?,
            response: self.find(kind::CHALLENGE_RESPONSE, fixed)?,
            tie_breaker: self.find(kind::TIE_BREAKER, fixed)?,
        })
    }

    fn connected(&self) -> Result<Connected, DecodeError> {
        Ok(Connected {
            speed: self.need(kind::TX_CONNECT_SPEED, "the message has no Connect Speed", u32_of)?,
            framing: self.need(kind::FRAMING_TYPE, "the message has no Framing Type", u32_of)?,
            sequencing: self.find(kind::SEQUENCING_REQUIRED, |_| Ok(()))?.is_some(),
            proxy: Proxy {
                initial_lcp: self.bytes(kind::INITIAL_RECEIVED_LCP)?,
                last_sent_lcp: self.bytes(kind::LAST_SENT_LCP)?,
                last_received_lcp: self.bytes(kind::LAST_RECEIVED_LCP)?,
                authen_type: self.find(kind::PROXY_AUTHEN_TYPE, u16_of)?,
                authen_name: self.bytes(kind::PROXY_AUTHEN_NAME)?,
                authen_challenge: self.bytes(kind::PROXY_AUTHEN_CHALLENGE)?,
                authen_id: self.find(kind::PROXY_AUTHEN_ID, u16_of)?,
                authen_response: self.bytes(kind::PROXY_AUTHEN_RESPONSE)?,
            },
        })
    }
}

// [2661:4.4.3-2]
fn window(value: &[u8]) -> Result<u16, DecodeError> {
    match u16_of(value)? {
        0 => Err(DecodeError::new(0, "a Receive Window Size is not 0")),
        size => Ok(size),
    }
}

fn challenge(value: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match value {
        [] => Err(DecodeError::new(0, "a Challenge has one octet at least")),
        value => Ok(value.to_vec()),
    }
}

fn call_errors(value: &[u8]) -> Result<CallErrors, DecodeError> {
    let [_, _, counts @ ..] = fixed::<26>(value)?;
    let mut numbers = counts.as_chunks::<4>().0.iter().map(|n| u32::from_be_bytes(*n));
    Ok(CallErrors { counts: core::array::from_fn(|_| numbers.next().unwrap_or_default()) })
}

fn accm(value: &[u8]) -> Result<Message, DecodeError> {
    let [_, _, s0, s1, s2, s3, r0, r1, r2, r3] = fixed::<10>(value)?;
    let (send, receive) = ([s0, s1, s2, s3], [r0, r1, r2, r3]);
    Ok(Message::Sli { send: u32::from_be_bytes(send), receive: u32::from_be_bytes(receive) })
}

struct Writer(Vec<Avp>);

impl Writer {
    fn add(mut self, mandatory: bool, kind: u16, value: Vec<u8>) -> Self {
        self.0.push(Avp::new(mandatory, kind, value));
        self
    }

    fn some(self, mandatory: bool, kind: u16, value: Option<Vec<u8>>) -> Self {
        match value {
            Some(value) => self.add(mandatory, kind, value),
            None => self,
        }
    }

    fn u16(self, mandatory: bool, kind: u16, value: u16) -> Self {
        self.add(mandatory, kind, value.to_be_bytes().to_vec())
    }

    fn u32(self, mandatory: bool, kind: u16, value: u32) -> Self {
        self.add(mandatory, kind, value.to_be_bytes().to_vec())
    }
}

impl Start {
    fn write(&self, w: Writer) -> Writer {
        let (version, revision) = self.version;
        w.add(true, kind::PROTOCOL_VERSION, vec![version, revision])
            .u32(true, kind::FRAMING_CAPABILITIES, self.framing)
            .some(true, kind::BEARER_CAPABILITIES, self.bearer.map(|b| b.to_be_bytes().to_vec()))
            .some(false, kind::TIE_BREAKER, self.tie_breaker.map(|t| t.to_vec()))
            .some(false, kind::FIRMWARE_REVISION, self.firmware.map(|f| f.to_be_bytes().to_vec()))
            .add(true, kind::HOST_NAME, written(&self.host_name))
            .some(false, kind::VENDOR_NAME, self.vendor.as_deref().map(written))
            .u16(true, kind::ASSIGNED_TUNNEL_ID, self.tunnel)
            .some(true, kind::RECEIVE_WINDOW_SIZE, self.window.map(|w| w.to_be_bytes().to_vec()))
            .some(true, kind::CHALLENGE, self.challenge.clone())
            .some(true, kind::CHALLENGE_RESPONSE, self.response.map(|r| r.to_vec()))
    }
}

impl Connected {
    fn write(&self, w: Writer) -> Writer {
        let Proxy { authen_type, authen_id, .. } = &self.proxy;
        let number = |n: &Option<u16>| n.map(|n| n.to_be_bytes().to_vec());
        w.u32(true, kind::TX_CONNECT_SPEED, self.speed)
            .u32(true, kind::FRAMING_TYPE, self.framing)
            .some(false, kind::INITIAL_RECEIVED_LCP, self.proxy.initial_lcp.clone())
            .some(false, kind::LAST_SENT_LCP, self.proxy.last_sent_lcp.clone())
            .some(false, kind::LAST_RECEIVED_LCP, self.proxy.last_received_lcp.clone())
            .some(false, kind::PROXY_AUTHEN_TYPE, number(authen_type))
            .some(false, kind::PROXY_AUTHEN_NAME, self.proxy.authen_name.clone())
            .some(false, kind::PROXY_AUTHEN_CHALLENGE, self.proxy.authen_challenge.clone())
            .some(false, kind::PROXY_AUTHEN_ID, number(authen_id))
            .some(false, kind::PROXY_AUTHEN_RESPONSE, self.proxy.authen_response.clone())
            .some(true, kind::SEQUENCING_REQUIRED, self.sequencing.then(Vec::new))
    }
}
