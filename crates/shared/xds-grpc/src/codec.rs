//! The codec that writes [`WriteMessage`]s.

use std::marker::PhantomData;

use portolan_xds::wire::WriteMessage;
use tonic::{
    Status,
    codec::{BufferSettings, Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstDecoder;

/// Sends `T`, receives the prost message `U`.
pub(super) struct WriteCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for WriteCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for WriteCodec<T, U>
where
    T: WriteMessage,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = WriteEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        WriteEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

pub(super) struct WriteEncoder<T>(PhantomData<T>);

impl<T: WriteMessage> Encoder for WriteEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.len());
        item.write(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
