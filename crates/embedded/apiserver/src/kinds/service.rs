//! Services: an address and node ports that no other Service has.

use portolan_apimachinery::ApiStatus;
use serde_json::Value;

use super::steps::Kind;
use crate::addresses::{Addresses, Taken};
use crate::api::Api;
use crate::writing::{Writing, name_of};

pub(super) struct Services;

impl Kind for Services {
    fn admit(
        &self,
        api: &Api,
        writing: &Writing,
        old: Option<&Value>,
        new: &mut Value,
    ) -> Result<Taken, ApiStatus> {
        if !writing.subresource.is_empty() {
            return Ok(Taken::default());
        }
        let taken = api.addresses.assign(old, new);
        taken.map_err(|errors| ApiStatus::invalid(&writing.resource, name_of(new), &errors))
    }

    fn stored(&self, addresses: &Addresses, old: &Value, new: Option<&Value>) {
        addresses.release(old, new);
    }
}
