use adit_core::DecodeError;

use super::octets::{Reader, Writer};

/// A control message (RFC 2637 §2.1 to §2.15). Fields that nobody uses are not kept, and written as zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Start-Control-Connection-Request.
    StartRequest(Hello),
    /// Start-Control-Connection-Reply.
    StartReply(StartReply),
    /// Stop-Control-Connection-Request.
    StopRequest {
        /// 1: none, 2: the other's protocol version, 3: shutting down.
        reason: u8,
    },
    /// Stop-Control-Connection-Reply.
    StopReply {
        /// 1: fine, 2: not.
        result: u8,
    },
    /// Echo-Request.
    EchoRequest {
        /// To be given back.
        identifier: u32,
    },
    /// Echo-Reply.
    EchoReply {
        /// Of the request.
        identifier: u32,
        /// 1: fine, 2: not.
        result: u8,
    },
    /// Outgoing-Call-Request.
    OutgoingCallRequest(OutgoingCall),
    /// Outgoing-Call-Reply.
    OutgoingCallReply(CallReply),
    /// Incoming-Call-Request.
    IncomingCallRequest {
        /// The PAC's call ID.
        call_id: u16,
        /// Its own number for the call.
        serial: u16,
    },
    /// Incoming-Call-Reply.
    IncomingCallReply(CallReply),
    /// Incoming-Call-Connected.
    IncomingCallConnected {
        /// The PNS's call ID.
        peer_call_id: u16,
    },
    /// Call-Clear-Request.
    CallClearRequest {
        /// The PNS's call ID.
        call_id: u16,
    },
    /// Call-Disconnect-Notify.
    CallDisconnectNotify {
        /// The PAC's call ID.
        call_id: u16,
        /// 1: carrier lost, 2: error, 3: shut down, 4: as asked.
        result: u8,
        /// With result 2: what was wrong (§2.16).
        error: u8,
    },
    /// WAN-Error-Notify.
    WanErrorNotify {
        /// The PNS's call ID.
        peer_call_id: u16,
    },
    /// Set-Link-Info.
    SetLinkInfo {
        /// The PAC's call ID.
        peer_call_id: u16,
        /// Send ACCM.
        send_accm: u32,
        /// Receive ACCM.
        receive_accm: u32,
    },
    /// A type that is not known.
    Unknown(u16),
}

/// Who a peer says it is (§2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Protocol Version: 0x0100.
    pub version: u16,
    /// Framing Capabilities: 1 asynchronous, 2 synchronous.
    pub framing: u32,
    /// Bearer Capabilities: 1 analogue, 2 digital.
    pub bearer: u32,
    /// Maximum Channels, of a PAC.
    pub channels: u16,
    /// Host Name.
    pub host_name: String,
    /// Vendor String.
    pub vendor: String,
}

/// The answer to a start (§2.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StartReply {
    /// 1: fine, 2: error, 3: there is a connection already, 4: not allowed, 5: version.
    pub result: u8,
    /// With result 2: what was wrong (§2.16).
    pub error: u8,
    /// Who answers.
    pub hello: Hello,
}

/// A call that a PNS wants (§2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutgoingCall {
    /// The PNS's call ID.
    pub call_id: u16,
    /// Its own number for the call.
    pub serial: u16,
    /// Packet Recv. Window Size.
    pub window: u16,
}

/// The answer to a call (§2.8, §2.10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallReply {
    /// The answerer's call ID.
    pub call_id: u16,
    /// The caller's.
    pub peer_call_id: u16,
    /// 1: connected; else why not.
    pub result: u8,
    /// With result 2: what was wrong (§2.16).
    pub error: u8,
    /// Packet Recv. Window Size.
    pub window: u16,
}

/// Bits a second that are claimed where a number is needed: nothing limits a call here.
const SPEED: u32 = 100_000_000;
/// Either framing, either bearer.
const ANY: u32 = 3;

impl Message {
    pub(super) const fn kind(&self) -> u16 {
        match self {
            Self::StartRequest(_) => 1,
            Self::StartReply(_) => 2,
            Self::StopRequest { .. } => 3,
            Self::StopReply { .. } => 4,
            Self::EchoRequest { .. } => 5,
            Self::EchoReply { .. } => 6,
            Self::OutgoingCallRequest(_) => 7,
            Self::OutgoingCallReply(_) => 8,
            Self::IncomingCallRequest { .. } => 9,
            Self::IncomingCallReply(_) => 10,
            Self::IncomingCallConnected { .. } => 11,
            Self::CallClearRequest { .. } => 12,
            Self::CallDisconnectNotify { .. } => 13,
            Self::WanErrorNotify { .. } => 14,
            Self::SetLinkInfo { .. } => 15,
            Self::Unknown(kind) => *kind,
        }
    }

    pub(super) fn parse(kind: u16, body: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(body);
        Ok(match kind {
            1 => {
                let version = r.u16()?;
                r.u16()?;
                Self::StartRequest(Hello::parse(version, &mut r)?)
            }
            2 => {
                let (version, result, error) = (r.u16()?, r.u8()?, r.u8()?);
                Self::StartReply(StartReply { result, error, hello: Hello::parse(version, &mut r)? })
            }
            3 => Self::StopRequest { reason: r.u8()? },
            4 => Self::StopReply { result: r.u8()? },
            5 => Self::EchoRequest { identifier: r.u32()? },
            6 => Self::EchoReply { identifier: r.u32()?, result: r.u8()? },
            7 => {
                let (call_id, serial) = (r.u16()?, r.u16()?);
                // Minimum and maximum speed, bearer, framing.
                for _ in 0..4 {
                    r.u32()?;
                }
                Self::OutgoingCallRequest(OutgoingCall { call_id, serial, window: r.u16()? })
            }
            8 => {
                let (call_id, peer_call_id, result, error) = (r.u16()?, r.u16()?, r.u8()?, r.u8()?);
                // Cause code, connect speed.
                r.u16()?;
                r.u32()?;
                let window = r.u16()?;
                Self::OutgoingCallReply(CallReply { call_id, peer_call_id, result, error, window })
            }
            9 => Self::IncomingCallRequest { call_id: r.u16()?, serial: r.u16()? },
            10 => {
                let (call_id, peer_call_id, result, error) = (r.u16()?, r.u16()?, r.u8()?, r.u8()?);
                let window = r.u16()?;
                Self::IncomingCallReply(CallReply { call_id, peer_call_id, result, error, window })
            }
            11 => Self::IncomingCallConnected { peer_call_id: r.u16()? },
            12 => Self::CallClearRequest { call_id: r.u16()? },
            13 => Self::CallDisconnectNotify { call_id: r.u16()?, result: r.u8()?, error: r.u8()? },
            14 => Self::WanErrorNotify { peer_call_id: r.u16()? },
            15 => {
                let peer_call_id = r.u16()?;
                r.u16()?;
                Self::SetLinkInfo { peer_call_id, send_accm: r.u32()?, receive_accm: r.u32()? }
            }
            other => Self::Unknown(other),
        })
    }

    pub(super) fn body(&self) -> Vec<u8> {
        let w = Writer::default();
        match self {
            Self::StartRequest(hello) => hello.write(w.u16(hello.version).u16(0)),
            Self::StartReply(reply) => {
                reply.hello.write(w.u16(reply.hello.version).u8(reply.result).u8(reply.error))
            }
            Self::StopRequest { reason } => w.u8(*reason).u8(0).u16(0),
            Self::StopReply { result } => w.u8(*result).u8(0).u16(0),
            Self::EchoRequest { identifier } => w.u32(*identifier),
            Self::EchoReply { identifier, result } => w.u32(*identifier).u8(*result).u8(0).u16(0),
            Self::OutgoingCallRequest(call) => w
                .u16(call.call_id)
                .u16(call.serial)
                .u32(300)
                .u32(SPEED)
                .u32(ANY)
                .u32(ANY)
                .u16(call.window)
                .u16(0)
                .u16(0)
                .u16(0)
                .text("")
                .text(""),
            Self::OutgoingCallReply(CallReply { call_id, peer_call_id, result, error, window }) => w
                .u16(*call_id)
                .u16(*peer_call_id)
                .u8(*result)
                .u8(*error)
                .u16(0)
                .u32(SPEED)
                .u16(*window)
                .u16(0)
                .u32(0),
            Self::IncomingCallRequest { call_id, serial } => {
                w.u16(*call_id).u16(*serial).u32(ANY).u32(0).u16(0).u16(0).text("").text("").text("")
            }
            Self::IncomingCallReply(CallReply { call_id, peer_call_id, result, error, window }) => {
                w.u16(*call_id).u16(*peer_call_id).u8(*result).u8(*error).u16(*window).u16(0).u16(0)
            }
            Self::IncomingCallConnected { peer_call_id } => {
                w.u16(*peer_call_id).u16(0).u32(SPEED).u16(64).u16(0).u32(ANY)
            }
            Self::CallClearRequest { call_id } => w.u16(*call_id).u16(0),
            Self::CallDisconnectNotify { call_id, result, error } => {
                w.u16(*call_id).u8(*result).u8(*error).u16(0).u16(0).text("").text("")
            }
            Self::WanErrorNotify { peer_call_id } => {
                (0..6).fold(w.u16(*peer_call_id).u16(0), |w, _| w.u32(0))
            }
            Self::SetLinkInfo { peer_call_id, send_accm, receive_accm } => {
                w.u16(*peer_call_id).u16(0).u32(*send_accm).u32(*receive_accm)
            }
            Self::Unknown(_) => w,
        }
        .0
    }
}

impl Hello {
    fn parse(version: u16, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (framing, bearer, channels) = (r.u32()?, r.u32()?, r.u16()?);
        r.u16()?;
        Ok(Self { version, framing, bearer, channels, host_name: r.text()?, vendor: r.text()? })
    }

    fn write(&self, w: Writer) -> Writer {
        w.u32(self.framing)
            .u32(self.bearer)
            .u16(self.channels)
            .u16(1)
            .text(&self.host_name)
            .text(&self.vendor)
    }
}
