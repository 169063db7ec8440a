use bytes::Bytes;

use super::*;

/// Everything that a decoder says of `input`, until it says nothing more.
fn steps(decoder: &mut BodyDecoder, input: &'static [u8]) -> (Vec<Decoded>, BytesMut) {
    let mut src = BytesMut::from(input);
    let mut steps = Vec::new();
    loop {
        let step = decoder.decode(&mut src).unwrap();
        assert!(!matches!(&step, Decoded::Data(data) if data.is_empty()), "data is never empty");
        let last = matches!(step, Decoded::NeedMore | Decoded::End);
        steps.push(step);
        if last {
            return (steps, src);
        }
    }
}

fn data(bytes: &'static [u8]) -> Decoded {
    Decoded::Data(Bytes::from_static(bytes))
}

#[test]
fn a_body_of_known_length_ends_there() {
    let mut decoder = BodyDecoder::new(BodyFraming::Length(5));
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(5), false));
    assert_eq!(steps(&mut decoder, b"abc").0, [data(b"abc"), Decoded::NeedMore]);
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(2), false));
    assert_eq!(decoder.finish(), Err(BodyError::UnexpectedEof));
    let (found, rest) = steps(&mut decoder, b"defg");
    assert_eq!((found, &rest[..]), (vec![data(b"de"), Decoded::End], &b"fg"[..]));
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(0), true));
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn no_body_has_ended_before_it_began() {
    let mut decoder = BodyDecoder::new(BodyFraming::None);
    assert!(decoder.is_done());
    let (found, rest) = steps(&mut decoder, b"next");
    assert_eq!((found, &rest[..]), (vec![Decoded::End], &b"next"[..]));
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    let mut decoder = BodyDecoder::new(BodyFraming::UntilClose);
    assert_eq!(steps(&mut decoder, b"abc").0, [data(b"abc"), Decoded::NeedMore]);
    assert_eq!((decoder.remaining(), decoder.is_done()), (None, false));
    assert_eq!(decoder.finish(), Ok(()));
    assert!(decoder.is_done());
    assert_eq!(steps(&mut decoder, b"").0, [Decoded::End]);
}

#[test]
fn a_chunked_body_ends_behind_its_trailers() {
    let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
    let (found, rest) = steps(&mut decoder, b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\nnext");
    assert_eq!((found, &rest[..]), (vec![data(b"abc"), data(b"de"), Decoded::End], &b"next"[..]));
    assert_eq!((decoder.remaining(), decoder.is_done()), (None, true));
    assert_eq!(steps(&mut decoder, b"next").0, [Decoded::End], "and stays ended");
}

#[test]
fn a_chunked_body_ends_nowhere_else() {
    for input in
        ["", "3", "3\r\n", "3\r\nab", "3\r\nabc", "3\r\nabc\r", "3\r\nabc\r\n", "0\r\n", "0\r\nX: a\r\n"]
    {
        let mut src = BytesMut::from(input.as_bytes());
        let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
        while !matches!(decoder.decode(&mut src).unwrap(), Decoded::NeedMore) {}
        assert!(!decoder.is_done(), "{input:?}");
        assert_eq!(decoder.finish(), Err(BodyError::UnexpectedEof), "{input:?}");
    }
}

#[test]
fn chunk_lines() {
    for (input, expected) in [
        (&b"a\r\n0123456789\r\n0\r\n\r\n"[..], Ok(10)),
        (b"0A\r\n0123456789\r\n0\r\n\r\n", Ok(10)),
        (b"1;\r\na\r\n0\r\n\r\n", Ok(1)),
        (b"1;a=\"b\";c\td\r\na\r\n0;e\r\n\r\n", Ok(1)),
        (b"1;\xff\r\na\r\n0\r\n\r\n", Ok(1)),
        (b"1; a = b\r\na\r\n0\r\n\r\n", Ok(1)),
        (b";", Err(BodyError::ChunkSize)),
        (b"\r", Err(BodyError::ChunkSize)),
        (b"g\r\n", Err(BodyError::ChunkSize)),
        (b";a\r\n", Err(BodyError::ChunkSize)),
        (b"\r\n", Err(BodyError::ChunkSize)),
        (b"1 ;a\r\na", Err(BodyError::ChunkSize)),
        (b"1;\x1f\r\na", Err(BodyError::ChunkSize)),
        (b"1;\x7f\r\na", Err(BodyError::ChunkSize)),
        (b"1\na", Err(BodyError::ChunkSize)),
        (b"1\rxa", Err(BodyError::ChunkSize)),
        (b"1;a\na", Err(BodyError::ChunkSize)),
        (b"1\r\nab", Err(BodyError::ChunkEnd)),
        (b"1\r\na\n", Err(BodyError::ChunkEnd)),
        (b"1\r\na\rb", Err(BodyError::ChunkEnd)),
    ] {
        let found = chunked(input).map(|body| body.map(|(data, _)| data.len()));
        assert_eq!(found, expected.map(Some), "{}", input.escape_ascii());
    }
}

#[test]
fn chunks_do_not_depend_on_reads() {
    let input = b"3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0;c\r\nX-T: 1\r\nX-U: 2\r\n\r\nnext";
    let whole = chunked(input).unwrap().unwrap();
    let (mut src, mut decoder) = (BytesMut::new(), BodyDecoder::new(BodyFraming::Chunked));
    let (mut bytes, mut trailers, mut ended) = (Vec::new(), HeaderMap::new(), None);
    for (at, byte) in input.iter().enumerate() {
        src.extend_from_slice(&[*byte]);
        loop {
            match decoder.decode(&mut src).unwrap() {
                Decoded::NeedMore => break,
                Decoded::Data(data) => bytes.extend_from_slice(&data),
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::End => {
                    ended.get_or_insert(at + 1);
                    break;
                }
            }
        }
    }
    assert_eq!((bytes, trailers), whole);
    assert_eq!(ended, Some(input.len() - 4), "with the last byte of the trailers");
}

#[test]
fn trailers() {
    for (section, expected) in [
        ("", Ok(vec![])),
        ("X-A: 1\r\nx-b:2\r\n", Ok(vec![("x-a", "1"), ("x-b", "2")])),
        ("Host: evil\r\nX-A: 1\r\n", Ok(vec![("x-a", "1")])),
        ("Content-Length: 5\r\n", Ok(vec![])),
        ("X\r\n", Err(BodyError::Trailer)),
        (" X: a\r\n", Err(BodyError::Trailer)),
        ("\tX: a\r\n", Err(BodyError::Trailer)),
        ("X: a\r\n b\r\n", Err(BodyError::Trailer)),
        ("X : a\r\n", Err(BodyError::Trailer)),
        ("X: a\nY: b\r\n", Err(BodyError::Trailer)),
        ("X: a\rY: b\r\n", Err(BodyError::Trailer)),
        ("X: \x01\r\n", Err(BodyError::Trailer)),
    ] {
        let found = chunked(format!("0\r\n{section}\r\n").as_bytes()).map(|body| {
            let (_, trailers) = body.unwrap();
            trailers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
                .collect::<Vec<_>>()
        });
        let owned = |fields: Vec<(&str, &str)>| {
            fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(found, expected.map(owned), "{section:?}");
    }
}
