//! The image catalogue: which program of this machine an image name stands for.
//!
//! Three layers, later ones win: what is built in, `images.json` in the state directory, and key `images.json` of ConfigMap
//! `kube-system/portolan-images`. Tags and digests are ignored: there is one version of a program on a machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// File in the state directory, and key in [`CONFIG_MAP`].
pub const FILE: &str = "images.json";
/// Namespace and name of the ConfigMap.
pub const CONFIG_MAP: (&str, &str) = ("kube-system", "portolan-images");
/// User of images that say nothing (the `nonroot` user of distroless images).
pub const DEFAULT_USER: u32 = 65532;
/// Size limit of one layer.
const MAX_LAYER_BYTES: u64 = 1 << 20;

/// What an image runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Program and leading arguments; the program is an absolute path of this machine, or a name on the PATH.
    pub command: Vec<String>,
    /// Arguments that a container's `args` replace.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// User id, when the Pod does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// Name to image.
pub type Images = BTreeMap<String, Image>;

/// Why a layer was not read.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Not readable.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// Not understood.
    #[error(
        "{place}: {source}; expected {{\"NAME\": {{\"command\": [\"/path/to/program\"], \"args\": [], \"user\": 65532}}}}"
    )]
    Parse {
        /// File or ConfigMap.
        place: String,
        /// The reason.
        source: serde_json::Error,
    },
    /// Too large.
    #[error("{place} is larger than {MAX_LAYER_BYTES} bytes")]
    TooLarge {
        /// File or ConfigMap.
        place: String,
    },
}

/// Reads one layer.
pub fn parse(place: &str, text: &str) -> Result<Images, CatalogueError> {
    if text.len() as u64 > MAX_LAYER_BYTES {
        return Err(CatalogueError::TooLarge { place: place.to_owned() });
    }
    serde_json::from_str(text).map_err(|source| CatalogueError::Parse { place: place.to_owned(), source })
}

/// The images that come with Portolan; `binaries` is the folder of the running program.
pub fn built_in(binaries: &Path) -> Images {
    let program = |name: &str| binaries.join(name).to_string_lossy().into_owned();
    let image = |command: Vec<String>| Image { command, args: Vec::new(), user: None };
    Images::from([
        ("portolan/proxy".to_owned(), image(vec![program("portolan-proxy")])),
        ("portolan/control-plane".to_owned(), image(vec![program("portolan"), "control-plane".to_owned()])),
        ("portolan/bookinfo".to_owned(), image(vec![program("bookinfo")])),
        ("portolan/pause".to_owned(), image(vec!["sleep".to_owned(), "infinity".to_owned()])),
    ])
}

/// Reads the file layer; a missing file is an empty layer.
pub fn read_file(state_dir: &Path) -> Result<Images, CatalogueError> {
    let path = state_dir.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path.display().to_string(), &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Images::new()),
        Err(source) => Err(CatalogueError::Read { path, source }),
    }
}

/// An image name without registry default, tag and digest: `docker.io/portolan/proxy:1.0@sha256:...` is `portolan/proxy`.
pub fn short_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    let tag_at = image.rfind(':').filter(|colon| !image[*colon..].contains('/'));
    let image = tag_at.map_or(image, |colon| &image[..colon]);
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image)
}

/// Looks `image` up in the layers, the last layer first.
pub fn resolve<'a>(layers: &'a [Images], image: &str) -> Option<&'a Image> {
    let name = short_name(image);
    layers.iter().rev().find_map(|layer| layer.get(image).or_else(|| layer.get(name)))
}

/// What to tell the user about an image that is nowhere.
pub fn missing_message(image: &str, state_dir: &Path) -> String {
    let (namespace, name) = CONFIG_MAP;
    format!(
        "image \"{image}\" is not in the image catalogue of this machine: add \"{short}\": {{\"command\": [\"/path/to/program\"]}} \
         to {file} or to key {FILE} of ConfigMap {namespace}/{name}, or set the container's command to a program of this machine",
        short = short_name(image),
        file = state_dir.join(FILE).display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names() {
        for (image, short) in [
            ("portolan/proxy", "portolan/proxy"),
            ("portolan/proxy:1.2", "portolan/proxy"),
            ("docker.io/portolan/proxy:1.2@sha256:ab", "portolan/proxy"),
            ("docker.io/library/busybox", "busybox"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("localhost:5000/app:v1", "localhost:5000/app"),
        ] {
            assert_eq!(short_name(image), short);
        }
    }

    #[test]
    fn layers() {
        let file =
            parse("f", r#"{"app":{"command":["/a"]},"portolan/proxy":{"command":["/mine"],"user":0}}"#)
                .unwrap();
        let layers = [built_in(Path::new("/bin")), file];
        assert_eq!(resolve(&layers, "app:1").unwrap().command, ["/a"]);
        assert_eq!(resolve(&layers, "portolan/proxy:x").unwrap().command, ["/mine"]);
        assert_eq!(resolve(&layers, "portolan/bookinfo").unwrap().command, ["/bin/bookinfo"]);
        assert!(resolve(&layers, "nope").is_none());
        assert!(parse("f", r#"{"app":{"cmd":["/a"]}}"#).is_err());
    }
}
