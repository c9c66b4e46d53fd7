use super::*;
use crate::ServerMessage;
use crate::native::{Compression, PartKind};
use serde_json::json;
use tricedb_core::port::HeldFact;
use tricedb_core::triple::Triple;

const BINARY: Encoding = Encoding::Binary(Compression::None);
const ZSTD: Encoding = Encoding::Binary(Compression::Zstd);

fn entity(n: u128) -> EntityId {
    EntityId(Uuid::from_u128(n))
}

fn attr(n: u128) -> AttrId {
    AttrId(Uuid::from_u128(n))
}

fn sample() -> SyncFrame {
    let put = (0..200)
        .map(|n| Triple {
            entity: entity(n / 2),
            attr: attr(n % 2),
            value: Value::from(format!("value {n}").as_str()),
            created_at: 1_795_408_071_705 + n as i64,
        })
        .collect();
    let body = PartBody {
        kind: PartKind::Delta,
        put,
        gone: vec![HeldFact { entity: entity(7), attr: attr(1), target: None }],
        forget: vec![HeldFact { entity: entity(8), attr: attr(2), target: Some(entity(9)) }],
        page: Some(json!({"todos": {"has-next-page?": true}})),
        aggregate: None,
    };
    let accepted = Accepted {
        tx: TxId(1 << 50),
        attrs: vec![(attr(5), attr(6))],
        was: vec![
            Replaced { entity: entity(1), attr: attr(1), value: Some(Value::Null) },
            Replaced { entity: entity(1), attr: attr(2), value: None },
        ],
    };
    let error = ErrorBody::bad_request("record-not-unique", "taken", json!({"value": 1}));
    SyncFrame {
        from: TxId((1 << 50) - 3),
        to: TxId((1 << 50) + 2),
        attrs: None,
        acks: vec![
            Ack { seq: 4, outcome: AckOutcome::Accepted(accepted) },
            Ack { seq: 5, outcome: AckOutcome::Rejected(error) },
            Ack { seq: 1, outcome: AckOutcome::Forgotten },
        ],
        parts: vec![
            Part { sub: SubId(3), body },
            Part { sub: SubId(4), body: PartBody { kind: PartKind::Same, ..PartBody::default() } },
            Part { sub: SubId(9), body: PartBody { kind: PartKind::Reset, ..PartBody::default() } },
        ],
    }
}

fn write(frame: &SyncFrame, encoding: Encoding) -> FrameBytes {
    let fragments: Vec<_> =
        frame.parts.iter().map(|part| (part.sub, part.body.encode(encoding))).collect();
    let parts: Vec<_> = fragments.iter().map(|(sub, fragment)| (*sub, fragment)).collect();
    let header = FrameHeader { from: frame.from, to: frame.to, attrs: None, acks: &frame.acks };
    write_frame(encoding, &header, &parts)
}

/// Facts of a part may come in another order.
fn sorted(mut frame: SyncFrame) -> SyncFrame {
    for part in &mut frame.parts {
        part.body.put.sort_by_key(|fact| (fact.entity, fact.attr));
    }
    frame
}

#[test]
fn both_encodings_say_the_same() {
    let frame = sample();
    let FrameBytes::Text(text) = write(&frame, Encoding::Json) else { panic!() };
    let messages = ServerMessage::decode_frame(&text).unwrap();
    assert_eq!(messages, [ServerMessage::Sync(frame.clone())]);
    assert_eq!(serde_json::from_str::<SyncFrame>(&text).unwrap(), frame);
    let whole = serde_json::to_value(ServerMessage::Sync(frame.clone())).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), whole);
    for encoding in [BINARY, ZSTD] {
        let FrameBytes::Binary(bytes) = write(&frame, encoding) else { panic!() };
        assert_eq!(sorted(SyncFrame::decode_binary(&bytes).unwrap()), frame);
    }
}

#[test]
fn the_smallest_frames_are_small() {
    let at = TxId(1 << 50);
    let header = FrameHeader { from: at, to: at, attrs: None, acks: &[] };
    let FrameBytes::Binary(bytes) = write_frame(BINARY, &header, &[]) else { panic!() };
    assert!(bytes.len() <= 12, "{}", bytes.len());
    let ack = Ack {
        seq: 70_000,
        outcome: AckOutcome::Accepted(Accepted { tx: at, attrs: Vec::new(), was: Vec::new() }),
    };
    let header = FrameHeader { acks: &[ack], ..header };
    let FrameBytes::Binary(bytes) = write_frame(BINARY, &header, &[]) else { panic!() };
    assert!(bytes.len() <= 20, "{}", bytes.len());
}

#[test]
fn attributes_travel_in_both_encodings() {
    let attrs = r#"[{"id":"00000000-0000-0000-0000-000000000001","forward-identity":["00000000-0000-0000-0000-000000000002","todos","title"],"value-type":"blob","cardinality":"one","unique?":false,"index?":false}]"#;
    let header = FrameHeader { from: TxId(1), to: TxId(2), attrs: Some(attrs), acks: &[] };
    let FrameBytes::Binary(bytes) = write_frame(BINARY, &header, &[]) else { panic!() };
    let FrameBytes::Text(text) = write_frame(Encoding::Json, &header, &[]) else { panic!() };
    let binary = SyncFrame::decode_binary(&bytes).unwrap();
    assert_eq!(binary, serde_json::from_str(&text).unwrap());
    assert_eq!(binary.attrs.unwrap()[0].id, attr(1));
}

#[test]
fn an_ack_says_one_thing() {
    for wrong in [json!({"seq": 1}), json!({"seq": 1, "tx": 2, "forgotten": true})] {
        assert!(serde_json::from_value::<Ack>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn broken_frames_are_errors_and_never_panic() {
    for encoding in [BINARY, ZSTD] {
        let FrameBytes::Binary(bytes) = write(&sample(), encoding) else { panic!() };
        assert!(SyncFrame::decode_binary(&[]).is_err());
        for at in 0..bytes.len() {
            for flip in [0x01, 0x08, 0x40, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = SyncFrame::decode_binary(&broken);
            }
            let _ = SyncFrame::decode_binary(&bytes[..at]);
        }
    }
}
