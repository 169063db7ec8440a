//! A plain HTTP/1.1 client that shows what came, without a library's opinion of it.

use std::io::{Error, Result};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::in_time;

/// One request on a connection of its own: status and body. `fields` are further header lines, each with its line end.
pub async fn request(
    to: impl ToSocketAddrs,
    method: &str,
    path: &str,
    fields: &str,
) -> Result<(u16, String)> {
    request_on(TcpStream::connect(to).await?, method, path, fields).await
}

/// The same on a connection that is there.
pub async fn request_on(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    fields: &str,
) -> Result<(u16, String)> {
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: test.example\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Not to the end of the connection: Envoy lets a client wait for that.
    in_time(async {
        while !is_whole(&answer) {
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        Ok::<_, Error>(())
    })
    .await?;
    parse(&answer).ok_or_else(|| Error::other(format!("no answer: {}", String::from_utf8_lossy(&answer))))
}

/// Whether an answer says that nothing more follows.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(length) => length.parse().is_ok_and(|length: usize| body.len() >= length),
        None => head.contains("transfer-encoding: chunked") && body.ends_with("0\r\n\r\n"),
    }
}

/// Status and body of an answer that was read to its end; `None` when it is none.
pub fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..split]).ok()?;
    let mut rest = &answer[split + 4..];
    let mut body = Vec::new();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        loop {
            let line = rest.windows(2).position(|window| window == b"\r\n")?;
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).ok()?, 16).ok()?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(rest.get(line + 2..line + 2 + size)?);
            rest = rest.get(line + size + 4..)?;
        }
    } else {
        body.extend_from_slice(rest);
    }
    Some((head.split(' ').nth(1)?.parse().ok()?, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_by_length_and_in_chunks() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", Some((200, "ab"))),
            (
                "HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                Some((503, "abc")),
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Some((204, ""))),
            ("HTTP/1.1 200 OK\r\n", None),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", None),
        ] {
            let parsed = parse(answer.as_bytes());
            assert_eq!(parsed, expected.map(|(status, body)| (status, body.to_owned())), "{answer}");
        }
    }

    #[test]
    fn an_answer_is_whole_when_it_says_so() {
        for (answer, whole) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", true),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", false),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", false),
        ] {
            assert_eq!(is_whole(answer.as_bytes()), whole, "{answer}");
        }
    }
}
