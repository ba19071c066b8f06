import json


def limpio(texto):
    return " ".join(texto.split()).casefold()


def grade(sample, item):
    try:
        datos = json.loads(sample["output_text"])
    except Exception:
        return 0.0
    if not isinstance(datos, dict):
        return 0.0
    esperado = item["direccion"]
    bien = sum(1 for k, v in esperado.items() if isinstance(datos.get(k), str) and limpio(datos[k]) == limpio(v))
    # a key too many costs as much as a wrong one
    parte = bien / max(len(esperado), len(datos))
    return 1.0 if parte == 1.0 else 0.7 * parte
