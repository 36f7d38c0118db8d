"""The power rails of a Jetson, by the kernel's files of its sensors."""

from typing import Dict, Optional

from nas.worker.probing import probe_paths, read_probe, read_probe_number

_INA3221_OF_4 = "sys/bus/i2c/drivers/ina3221x/*/iio?device*/in_power[0-9]_input"
_INA3221 = "sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in[0-9]_label"
_INA238 = "sys/bus/i2c/drivers/ina238/*/hwmon/hwmon*/power1_input"


def read_rails_mw(root: str) -> Dict[str, float]:
    """Power by rail in mW; below 0 where a sensor states that of a rail that is off.

    The sensors are INA3221, `ina3221x` of JetPack 4 (mW) and `ina3221` from JetPack 5 on (mV, mA), and INA238 of Thor (uW).

    Args:
        root: Prefix of the paths of the kernel's files.
    """
    rails: Dict[str, float] = {}
    for path in probe_paths(root, _INA3221_OF_4):
        folder, channel = path.rsplit("/in_power", 1)
        _add_rail(rails, read_probe(root, folder + "/rail_name_" + channel[0]), read_probe_number(root, path))
    for path in probe_paths(root, _INA3221):
        folder, channel = path.rsplit("/in", 1)
        millivolts = read_probe_number(root, folder + f"/in{channel[0]}_input")
        milliamperes = read_probe_number(root, folder + f"/curr{channel[0]}_input")
        if millivolts is not None and milliamperes is not None:
            _add_rail(rails, read_probe(root, path), millivolts * milliamperes / 1000)
    for path in probe_paths(root, _INA238):
        microwatts = read_probe_number(root, path)
        if microwatts is not None:
            _add_rail(rails, read_probe(root, path.rsplit("/", 1)[0] + "/label"), microwatts / 1000)
    return rails


def _add_rail(rails: Dict[str, float], name: Optional[str], milliwatts: Optional[float]) -> None:
    if name is not None and name != "NC" and milliwatts is not None:
        rails[name] = milliwatts
