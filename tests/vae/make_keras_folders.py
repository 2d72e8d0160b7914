"""Make keras_folders.zip: small SavedModels of random weights, and what TensorFlow says that they give.

Run by hand, with TensorFlow, Keras 3 and tf_keras (Keras 2, whose folders are like the published ones):
    python tests/vae/make_keras_folders.py
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import keras as keras3
import numpy as np
import tensorflow as tf
import tf_keras as keras2

WINDOW, LATENTS = 18, 3


def randomised(model, rng: np.random.Generator):
    """Biases and batch normalisations that are not the identity they begin as."""
    for layer in model.layers:
        weights = layer.get_weights()
        if "batch_normalization" in layer.name:
            low, high = [0.5, -0.3, -0.3, 0.4], [1.5, 0.3, 0.3, 2.0]
            layer.set_weights(
                [rng.uniform(a, b, w.shape) for a, b, w in zip(low, high, weights, strict=True)]
            )
        elif weights and not hasattr(layer, "layers"):
            layer.set_weights([weights[0], *(rng.normal(0, 0.1, w.shape) for w in weights[1:])])
    return model


def encoder(keras, rng: np.random.Generator, *, leaky: bool = False):
    layers = keras.layers

    class Sampling(layers.Layer):
        def call(self, inputs):
            mean, log_variance = inputs
            return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))

    x = windows = keras.Input((WINDOW, WINDOW, 1))
    for filters, kernel, stride in ((4, 3, 2), (6, 5, 3)):
        x = layers.Conv2D(filters, kernel, strides=stride, padding="same", activation="relu")(x)
        x = layers.LeakyReLU()(x) if leaky else layers.BatchNormalization(epsilon=2e-3)(x)
    x = layers.Dense(10, activation="relu")(layers.Flatten()(x))
    mean, log_variance = layers.Dense(LATENTS, name="z_mean")(x), layers.Dense(LATENTS, name="z_log_var")(x)
    outputs = [log_variance, mean, Sampling()([mean, log_variance])]
    return randomised(keras.Model(windows, outputs, name="encoder"), rng)


def decoder(keras, rng: np.random.Generator, latents: int = LATENTS):
    layers = keras.layers
    z = keras.Input((latents,))
    x = layers.Reshape((3, 3, 5))(layers.Dense(45, activation="relu")(z))
    for filters, stride in ((4, 2), (3, 3)):
        x = layers.Conv2DTranspose(filters, 3, strides=stride, padding="same", activation="relu")(x)
        x = layers.BatchNormalization()(x)
    x = layers.Conv2DTranspose(1, 4, padding="same", activation="sigmoid")(x)
    return randomised(keras.Model(z, x, name="decoder"), rng)


def main() -> None:
    rng = np.random.default_rng(0)
    tf.random.set_seed(0)
    windows = rng.random((4, WINDOW, WINDOW, 1)).astype(np.float32)
    z = rng.normal(size=(4, LATENTS)).astype(np.float32)
    expected = {"windows": windows[..., 0], "z": z}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for keras, name in ((keras2, "keras2"), (keras3, "keras3")):
            code, picture = encoder(keras, rng), decoder(keras, rng)
            log_variance, mean, _ = code.predict(windows, verbose=0)
            expected |= {f"{name}_mean": mean, f"{name}_log_variance": log_variance}
            expected[f"{name}_pictures"] = picture.predict(z, verbose=0)[..., 0]
            if keras is keras2:
                code.save(place / "encoder", save_format="tf")
                picture.save(place / "decoder", save_format="tf")
                decoder(keras, rng, LATENTS + 1).save(place / "decoder-of-4", save_format="tf")
                encoder(keras, rng, leaky=True).save(place / "leaky", save_format="tf")
            else:
                inputs = keras.Input((WINDOW, WINDOW, 1))
                keras.Model(inputs, picture(code(inputs)[2])).export(place / "whole", verbose=False)
        np.savez_compressed(place / "expected.npz", **expected)
        with zipfile.ZipFile(Path(__file__).with_name("keras_folders.zip"), "w", zipfile.ZIP_LZMA) as out:
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    out.write(path, path.relative_to(place))


if __name__ == "__main__":
    main()
